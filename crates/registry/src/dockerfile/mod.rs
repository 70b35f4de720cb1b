//! Dockerfiles: text into stages of instructions. Nothing is looked up or run here.
//! Source: Docker's Dockerfile reference; where it leaves room, BuildKit's parser decides.

mod heredoc;
mod ignore;
mod instruction;
mod lines;
mod words;

pub use heredoc::Heredoc;
pub use ignore::Ignore;
pub use instruction::{CacheMount, Command, Copy, Instruction, Run};
pub use words::{Lookup, expand, split};

use instruction::parse_instruction;
use lines::logical_lines;

/// Largest Dockerfile: far beyond what people write, small enough to hold in memory many times.
pub const MAX_DOCKERFILE_BYTES: usize = 1 << 20;

/// A line that cannot be used, by its number in the file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Dockerfile line {line}: {message}")]
pub struct DockerfileError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl DockerfileError {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> DockerfileError {
        DockerfileError { line, message: message.into() }
    }
}

/// A parsed file.
#[derive(Clone, Debug, PartialEq)]
pub struct Dockerfile {
    /// `ARG` before the first `FROM`: name and default.
    pub arguments: Vec<(String, Option<String>)>,
    pub stages: Vec<Stage>,
}

/// One `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub line: usize,
    /// As written, with variables.
    pub base: String,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    pub platform: Option<String>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub line: usize,
    /// The instruction on one line, for logs and history.
    pub text: String,
    pub instruction: Instruction,
}

impl Dockerfile {
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Dockerfile, DockerfileError> {
        if text.len() > MAX_DOCKERFILE_BYTES {
            return Err(DockerfileError::new(
                1,
                format!("the file is larger than {MAX_DOCKERFILE_BYTES} bytes"),
            ));
        }
        let mut file = Dockerfile { arguments: Vec::new(), stages: Vec::new() };
        for line in logical_lines(text)? {
            let (keyword, rest) = line.text.split_once(char::is_whitespace).unwrap_or((&line.text, ""));
            let keyword = keyword.to_ascii_uppercase();
            if keyword == "FROM" {
                file.stages.push(parse_from(line.number, rest.trim())?);
                continue;
            }
            let instruction = parse_instruction(&line, &keyword, rest.trim())?;
            match (file.stages.last_mut(), instruction) {
                (Some(stage), instruction) => {
                    let text = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
                    stage.steps.push(Step { line: line.number, text, instruction });
                }
                (None, Instruction::Arg(arguments)) => file.arguments.extend(arguments),
                (None, _) => {
                    return Err(DockerfileError::new(
                        line.number,
                        format!("{keyword} before the first FROM"),
                    ));
                }
            }
        }
        if file.stages.is_empty() {
            return Err(DockerfileError::new(1, "there is no FROM"));
        }
        Ok(file)
    }

    /// The stage that `target` names (or, without, the last one).
    ///
    /// # Errors
    /// There is no such stage.
    pub fn target(&self, target: Option<&str>) -> Result<usize, DockerfileError> {
        let Some(target) = target else { return Ok(self.stages.len() - 1) };
        let by_name =
            self.stages.iter().position(|stage| stage.name.as_deref() == Some(&target.to_lowercase()));
        let by_number = || target.parse().ok().filter(|number| *number < self.stages.len());
        by_name
            .or_else(by_number)
            .ok_or_else(|| DockerfileError::new(1, format!("there is no stage {target:?}")))
    }
}

/// `FROM [--platform=…] image [AS name]`.
fn parse_from(line: usize, rest: &str) -> Result<Stage, DockerfileError> {
    let mut words: Vec<&str> = rest.split_whitespace().collect();
    let mut platform = None;
    while let Some(flag) = words.first().and_then(|word| word.strip_prefix("--")) {
        match flag.split_once('=') {
            Some(("platform", value)) => platform = Some(value.to_string()),
            _ => return Err(DockerfileError::new(line, format!("FROM does not know the flag --{flag}"))),
        }
        words.remove(0);
    }
    let (base, name) = match words.as_slice() {
        [base] => (*base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (*base, Some(name.to_lowercase())),
        _ => return Err(DockerfileError::new(line, "FROM wants an image, or an image AS a name")),
    };
    Ok(Stage { line, base: base.to_string(), name, platform, steps: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_global_arguments() {
        let file = Dockerfile::parse(
            "ARG VERSION=20\nARG OTHER\nFROM --platform=$BUILDPLATFORM node:${VERSION} AS Build\nRUN npm ci\n\nfrom scratch\n",
        )
        .unwrap();
        assert_eq!(file.arguments, [("VERSION".into(), Some("20".into())), ("OTHER".into(), None)]);
        assert_eq!(file.stages.len(), 2);
        assert_eq!(file.stages[0].base, "node:${VERSION}");
        assert_eq!(file.stages[0].name.as_deref(), Some("build"));
        assert_eq!(file.stages[0].steps[0].text, "RUN npm ci");
        assert_eq!(file.stages[0].steps[0].line, 4);
        assert_eq!(file.target(None).unwrap(), 1);
        assert_eq!(file.target(Some("BUILD")).unwrap(), 0);
        assert!(file.target(Some("nowhere")).is_err());
    }

    #[test]
    fn errors_name_the_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Dockerfile::parse(text).unwrap_err().to_string(), expected, "{text}");
        };
        check("", "Dockerfile line 1: there is no FROM");
        check("RUN x\nFROM y", "Dockerfile line 1: RUN before the first FROM");
        check("FROM a\n\n# c\nONBUILD RUN x", "Dockerfile line 4: ONBUILD is not supported");
        check("FROM a\nRUN \\\n x\nFLY y", "Dockerfile line 4: FLY is not an instruction");
        check("FROM a b", "Dockerfile line 1: FROM wants an image, or an image AS a name");
        check("FROM a\nCOPY x", "Dockerfile line 2: COPY wants at least one source and a destination");
        check(
            "FROM a\nADD https://x/y /z",
            "Dockerfile line 2: ADD of an address is not supported: fetch it with RUN",
        );
        check(
            "FROM a\nRUN --security=insecure x",
            "Dockerfile line 2: RUN does not know the flag --security=insecure",
        );
        check("FROM a\nRUN <<END\nx", "Dockerfile line 2: the heredoc END does not end");
    }
}
