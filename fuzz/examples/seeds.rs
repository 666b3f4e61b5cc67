//! Writes the seeds of every corpus: `cargo run -p antiphon-fuzz --example seeds`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let seeds = antiphon_fuzz::seeds::seeds();
    for seed in &seeds {
        let folder = corpora.join(seed.target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(&seed.name), &seed.bytes)?;
    }
    println!("{} seeds written below {}", seeds.len(), corpora.display());
    Ok(())
}
