//! What signs for a cortex.

use std::fmt;
use std::sync::Arc;

use super::{KeyStatement, Signature};
use crate::blocking::spawn_blocking;
use crate::error_code::ErrorCode;

/// A key did not sign.
///
/// ```
/// use antiphon_kernel::SignError;
///
/// let error = SignError::new("the HSM does not answer");
/// assert_eq!(error.to_string(), "the working key did not sign: the HSM does not answer");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the working key did not sign: {reason}")]
pub struct SignError {
    reason: String,
}

impl SignError {
    /// An error with this reason, for people.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::IdentitySign
    }
}

/// Signs with a cortex's working key. [`Keys`](super::Keys) has the private key in memory; an embedder's own type may use a
/// hardware security module (HSM).
///
/// The root key signs the statement where that key is kept; a running cortex needs the working key alone.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use antiphon_kernel::testing::MemoryStore;
/// use antiphon_kernel::{Cortex, KeyStatement, PublicKey, SecretKey, SignError, Signature, Signer};
///
/// /// A session with an HSM, simulated: the private key never leaves it.
/// struct Session(SecretKey);
///
/// impl Session {
///     fn public_key(&self) -> PublicKey {
///         self.0.public()
///     }
///
///     fn ed25519(&self, message: &[u8]) -> Option<[u8; 64]> {
///         Some(self.0.sign(message).to_bytes())
///     }
/// }
///
/// struct HsmSigner {
///     session: Mutex<Session>,
///     statement: KeyStatement,
/// }
///
/// impl Signer for HsmSigner {
///     fn statement(&self) -> &KeyStatement {
///         &self.statement
///     }
///
///     fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
///         let session = self.session.lock().map_err(|_| SignError::new("the session is broken"))?;
///         let signature = session.ed25519(message).ok_or_else(|| SignError::new("the HSM does not answer"))?;
///         Ok(Signature::from_bytes(signature))
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Once, where the root key is: certify the HSM's public key. Keep the statement's bytes.
/// let session = Session(SecretKey::generate());
/// let root = SecretKey::generate();
/// let bytes = KeyStatement::issue(&root, 1, session.public_key(), Vec::new())?.to_bytes();
///
/// // At each start.
/// let statement = KeyStatement::from_bytes(&bytes)?;
/// let signer = HsmSigner { session: Mutex::new(session), statement };
/// let cortex = Cortex::builder(MemoryStore::new()).name("alpha").keys(Arc::new(signer)).start().await?;
/// assert_eq!(cortex.reader().local().cortex_id, KeyStatement::from_bytes(&bytes)?.cortex());
/// cortex.stop().await;
/// # Ok(())
/// # }
/// ```
pub trait Signer: Send + Sync + 'static {
    /// The statement that certifies the working key. It stays the same as long as the cortex runs.
    fn statement(&self) -> &KeyStatement;

    /// Signs a message with the working key. It may block: it is called on the log's writer thread, where appends wait meanwhile,
    /// and for each new connection on a thread for blocking work. What is signed begins with `antiphon` and what it is.
    ///
    /// # Errors
    /// [`SignError`]; what was to be signed is not written then.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// A [`Signer`] that is shared. It compares by the statement, and shows nothing else.
///
/// ```
/// use std::sync::Arc;
///
/// use antiphon_kernel::{Keys, SharedSigner};
///
/// let keys = Arc::new(Keys::generate());
/// let signer = SharedSigner::new(keys.clone());
/// assert_eq!(signer.statement().cortex(), keys.cortex());
/// assert_eq!(format!("{signer:?}"), format!("SharedSigner({})", keys.cortex()));
/// ```
#[derive(Clone)]
pub struct SharedSigner(Arc<dyn Signer>);

impl SharedSigner {
    /// Shares a signer.
    #[must_use]
    pub const fn new(signer: Arc<dyn Signer>) -> Self {
        Self(signer)
    }

    /// The statement that certifies the working key.
    #[must_use]
    pub fn statement(&self) -> &KeyStatement {
        self.0.statement()
    }

    /// Signs on a thread that may block, and drops what is held then.
    pub(crate) async fn sign(&self, message: Vec<u8>, held: impl Send + 'static) -> Result<Signature, SignError> {
        let signer = Arc::clone(&self.0);
        let signed = spawn_blocking(move || {
            let signed = signer.sign(&message);
            drop(held);
            signed
        })
        .await;
        signed.unwrap_or_else(|error| Err(SignError::new(format!("signing ended early: {error}"))))
    }
}

impl PartialEq for SharedSigner {
    fn eq(&self, other: &Self) -> bool {
        self.statement() == other.statement()
    }
}

impl Eq for SharedSigner {}

impl fmt::Debug for SharedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSigner({})", self.statement().cortex())
    }
}
