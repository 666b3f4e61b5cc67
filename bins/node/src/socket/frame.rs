//! The lines on the socket. Each request and each answer names the version of the API and of the program that wrote it.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::api::{API_VERSION, Reply, Request};
use crate::steps::Step;
use crate::version::VERSION;

/// How often a node reports at least that it is at work.
pub(super) const WORKING_EVERY: Duration = Duration::from_secs(2);

/// The longest line. Events are not in it: see [`super::pieces`].
const MAX_LINE: u64 = 64 * 1024 * 1024;

pub(super) async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = String::new();
    let read = reader.take(MAX_LINE).read_line(&mut line).await?;
    if line.ends_with('\n') {
        return Ok(Some(line));
    }
    if read as u64 == MAX_LINE {
        bail!("the answer is longer than {} MiB", MAX_LINE >> 20);
    }
    // The other side went away, perhaps in the middle of it.
    Ok(None)
}

/// Names a version for an error. A program from before lines had a version sends neither.
fn named(api: u32, program: &str) -> String {
    match program {
        "" => format!("an older version (admin API {api})"),
        program => format!("version {program} (admin API {api})"),
    }
}

/// A request, as a command writes it. `api`, `program` and `ask` never change.
#[derive(Serialize)]
struct RequestLine<'a> {
    api: u32,
    program: &'a str,
    #[serde(flatten)]
    request: &'a Request,
}

#[derive(Deserialize)]
struct RequestHead {
    #[serde(default)]
    api: u32,
    #[serde(default)]
    program: String,
    #[serde(default)]
    ask: String,
}

pub(super) fn request_line(request: &Request) -> Result<String> {
    let line = RequestLine { api: API_VERSION, program: VERSION, request };
    Ok(format!("{}\n", serde_json::to_string(&line)?))
}

/// Reads a request of this version. `location` may have any version: a command must find an older node before it makes another
/// one in the same place.
pub(super) fn read_request(line: &str) -> Result<Request> {
    let Ok(RequestHead { api, program, ask }) = serde_json::from_str(line) else {
        bail!("a request to a node is one JSON object on a line");
    };
    if api != API_VERSION && ask != "location" {
        bail!(
            "this node runs {}, and the command is of {}: use the `antiphon` of the node's version, or restart the node with the command's version",
            named(API_VERSION, VERSION),
            named(api, &program)
        );
    }
    match serde_json::from_str(line) {
        Ok(request) => Ok(request),
        Err(error) => bail!("this node does not know that command ({error}); are both of one version?"),
    }
}

/// An answer, as a node writes it. All fields but `ok` never change.
#[derive(Default, Serialize)]
struct AnswerLine<'a> {
    api: u32,
    program: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<&'a Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The stable code of the error, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// Number of texts that follow.
    texts: usize,
}

#[derive(Deserialize)]
struct AnswerHead {
    #[serde(default)]
    api: u32,
    #[serde(default)]
    program: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    working: bool,
    #[serde(default)]
    step: Option<Step>,
    #[serde(default)]
    texts: usize,
}

/// The line that reports that a node is at work. `working` never changes.
#[derive(Serialize)]
struct WorkingLine {
    working: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
}

/// A line that a node wrote.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// The node is still at work, and perhaps reports how far it has come.
    Working(Option<Step>),
    /// The reply, and the number of texts that follow.
    Reply(Reply, usize),
}

#[derive(Deserialize)]
struct AnswerBody<R> {
    ok: R,
}

pub(super) fn reply_line(reply: &Reply, texts: usize) -> Result<String> {
    let line = AnswerLine { api: API_VERSION, program: VERSION, ok: Some(reply), texts, ..AnswerLine::default() };
    Ok(format!("{}\n", serde_json::to_string(&line)?))
}

/// The error is a whole text, with its code and what to do: a program of another version prints it as it is.
pub(super) fn error_line(error: &str, code: Option<&str>) -> Result<String> {
    let line = AnswerLine { api: API_VERSION, program: VERSION, error: Some(error), code, ..AnswerLine::default() };
    Ok(format!("{}\n", serde_json::to_string(&line)?))
}

/// What a node reports in the place of a reply: a whole text.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Reported {
    text: String,
    /// The stable code of the error, if it has one.
    pub code: Option<String>,
}

pub(super) fn working_line(step: Option<Step>) -> Result<String> {
    Ok(format!("{}\n", serde_json::to_string(&WorkingLine { working: true, step })?))
}

/// Reads a line of the answer to a request.
pub(super) fn read_answer(line: &str) -> Result<Line> {
    let AnswerHead { api, program, error, code, working, step, texts } = serde_json::from_str(line)?;
    if let Some(error) = error {
        return Err(Reported { text: error, code }.into());
    }
    if working {
        return Ok(Line::Working(step));
    }
    if api != API_VERSION {
        bail!(
            "the node that serves runs {}, and this command is of {}: use the `antiphon` of the node's version, or restart the node with this version",
            named(api, &program),
            named(API_VERSION, VERSION)
        );
    }
    Ok(Line::Reply(serde_json::from_str::<AnswerBody<Reply>>(line)?.ok, texts))
}

/// Reads the reply to `location`, which a node of any version gives.
pub(super) fn read_location(line: &str) -> Result<crate::reply::Location> {
    /// As a [`Reply`] has it.
    #[derive(Deserialize)]
    struct Located {
        location: crate::reply::Location,
    }
    Ok(serde_json::from_str::<AnswerBody<Located>>(line)?.ok.location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::Work;

    #[test]
    fn a_request_of_another_version_is_refused_with_both_versions() {
        let line = request_line(&Request::Verify).unwrap();
        assert!(matches!(read_request(&line), Ok(Request::Verify)), "{line}");
        for (api, program, says) in [
            (API_VERSION + 1, "9.0.0 (abc)", format!("version 9.0.0 (abc) (admin API {})", API_VERSION + 1)),
            (0, "", "an older version (admin API 0)".to_owned()),
        ] {
            let line = serde_json::json!({ "api": api, "program": program, "ask": "verify", "new": 1 }).to_string();
            let error = read_request(&line).unwrap_err().to_string();
            assert!(error.contains(&says) && error.contains(&named(API_VERSION, VERSION)), "{error}");
        }
        assert!(read_request("{\"ask\":\"verify\"}").unwrap_err().to_string().contains("an older version"));
        assert!(read_request("status").unwrap_err().to_string().contains("one JSON object"));
    }

    #[test]
    fn a_location_is_asked_and_told_across_versions() {
        for line in ["{\"ask\":\"location\"}", "{\"api\":99,\"program\":\"x\",\"ask\":\"location\",\"more\":1}"] {
            assert!(matches!(read_request(line), Ok(Request::Location)), "{line}");
        }
        let line =
            "{\"api\":99,\"ok\":{\"location\":{\"name\":\"alpha\",\"process\":7,\"displaced\":\"gone\",\"more\":1}}}";
        assert_eq!(read_location(line).unwrap().process, 7);
    }

    #[test]
    fn an_answer_of_another_version_is_refused_with_both_versions() {
        let reply = Reply::from(crate::reply::Done);
        let line = reply_line(&reply, 3).unwrap();
        assert_eq!(read_answer(&line).unwrap(), Line::Reply(reply, 3));
        // Commands from before steps were reported know the first form.
        assert_eq!(working_line(None).unwrap(), "{\"working\":true}\n");
        let step = Some(Step { work: Work::Log, done: 3, total: 9 });
        for step in [None, step] {
            assert_eq!(read_answer(&working_line(step).unwrap()).unwrap(), Line::Working(step));
        }
        for code in [None, Some("AP-STORE-006")] {
            let error = read_answer(&error_line("the disk is full", code).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "the disk is full");
            assert_eq!(error.downcast_ref::<Reported>().unwrap().code.as_deref(), code);
        }
        let other = line.replacen(&format!("\"api\":{API_VERSION}"), "\"api\":99", 1);
        let error = read_answer(&other).unwrap_err().to_string();
        assert!(error.contains("admin API 99") && error.contains(&named(API_VERSION, VERSION)), "{error}");
    }
}
