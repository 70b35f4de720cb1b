//! One instruction, parsed but not expanded.

use std::time::Duration;

use serde_json::{Value, json};

use super::DockerfileError;
use super::heredoc::{self, Heredoc};
use super::lines::Line;
use super::words::split;

#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    Add(Copy),
    Arg(Vec<(String, Option<String>)>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    /// As it stands in an image's config; none for `HEALTHCHECK NONE`'s own form, which is `{"Test": ["NONE"]}`.
    Healthcheck(Value),
    Label(Vec<(String, String)>),
    Run(Run),
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// The two forms of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For the stage's shell.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    /// `--mount=type=cache`.
    pub caches: Vec<CacheMount>,
    /// `--network=none`.
    pub no_network: bool,
}

/// A directory that is kept between builds and is no part of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    pub id: String,
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// A stage or image.
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub sources: Vec<String>,
    /// Sources written in the Dockerfile itself.
    pub heredocs: Vec<Heredoc>,
    pub destination: String,
}

pub(super) fn parse_instruction(
    line: &Line,
    keyword: &str,
    rest: &str,
) -> Result<Instruction, DockerfileError> {
    let fail = |message: String| DockerfileError::new(line.number, message);
    let known = !matches!(keyword, "RUN" | "COPY" | "ADD" | "CMD" | "ENTRYPOINT") && rest.is_empty();
    if known && is_known(keyword) {
        return Err(fail(format!("{keyword} wants an argument")));
    }
    let list = || json_array(rest).unwrap_or_else(|| split(rest));
    match keyword {
        "ADD" | "COPY" => {
            let copy = parse_copy(line, keyword, rest)?;
            Ok(if keyword == "ADD" { Instruction::Add(copy) } else { Instruction::Copy(copy) })
        }
        "ARG" => {
            let pairs = split(rest).into_iter().map(|word| match word.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (word, None),
            });
            Ok(Instruction::Arg(pairs.collect()))
        }
        "CMD" => Ok(Instruction::Cmd(command(rest))),
        "ENTRYPOINT" => Ok(Instruction::Entrypoint(command(rest))),
        "ENV" => pairs(rest).map(Instruction::Env).map_err(fail),
        "EXPOSE" => Ok(Instruction::Expose(split(rest))),
        "HEALTHCHECK" => healthcheck(rest).map(Instruction::Healthcheck).map_err(fail),
        "LABEL" => pairs(rest).map(Instruction::Label).map_err(fail),
        "MAINTAINER" => {
            Ok(Instruction::Label(vec![("maintainer".to_string(), format!("'{}'", rest.replace('\'', "")))]))
        }
        "RUN" => parse_run(line, rest).map(Instruction::Run),
        "SHELL" => {
            let words = json_array(rest).filter(|words| !words.is_empty());
            words.map(Instruction::Shell).ok_or_else(|| fail("SHELL wants a JSON array".to_string()))
        }
        "STOPSIGNAL" => Ok(Instruction::Stopsignal(rest.to_string())),
        "USER" => Ok(Instruction::User(rest.to_string())),
        "VOLUME" => Ok(Instruction::Volume(list())),
        "WORKDIR" => Ok(Instruction::Workdir(rest.to_string())),
        "ONBUILD" => Err(fail("ONBUILD is not supported".to_string())),
        _ => Err(fail(format!("{keyword} is not an instruction"))),
    }
}

fn is_known(keyword: &str) -> bool {
    let all =
        ["ARG", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];
    all.contains(&keyword)
}

/// Leading `--name=value` flags, and what follows them.
fn flags(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    while rest.starts_with("--") {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
        found.push((name.to_string(), value.to_string()));
        rest = after.trim_start();
    }
    (found, rest)
}

fn parse_copy(line: &Line, keyword: &str, rest: &str) -> Result<Copy, DockerfileError> {
    let fail = |message: String| DockerfileError::new(line.number, message);
    let (flags, rest) = flags(rest);
    let mut words = json_array(rest).unwrap_or_else(|| split(rest));
    let destination = words.pop().unwrap_or_default();
    let mut copy = Copy {
        from: None,
        chown: None,
        chmod: None,
        sources: Vec::new(),
        heredocs: line.heredocs.clone(),
        destination,
    };
    for (name, value) in flags {
        match (name.as_str(), keyword) {
            ("from", "COPY") => copy.from = Some(value),
            ("chown", _) => copy.chown = Some(value),
            ("chmod", _) => copy.chmod = Some(value),
            // Layers are always independent of what is below them.
            ("link", _) => {}
            _ => return Err(fail(format!("{keyword} does not know the flag --{name}"))),
        }
    }
    copy.sources = words.into_iter().filter(|word| heredoc::opening(word).is_none()).collect();
    if copy.sources.is_empty() && copy.heredocs.is_empty() {
        return Err(fail(format!("{keyword} wants at least one source and a destination")));
    }
    let address = |source: &&String| source.contains("://") || source.starts_with("git@");
    if keyword == "ADD" && copy.sources.iter().any(|source| address(&source)) {
        return Err(fail("ADD of an address is not supported: fetch it with RUN".to_string()));
    }
    Ok(copy)
}

fn parse_run(line: &Line, rest: &str) -> Result<Run, DockerfileError> {
    let fail = |message: String| DockerfileError::new(line.number, message);
    let (flags, rest) = flags(rest);
    let mut run = Run { command: command(rest), caches: Vec::new(), no_network: false };
    for (name, value) in flags {
        match (name.as_str(), value.as_str()) {
            ("network", "none") => run.no_network = true,
            ("network", "default" | "host") => {}
            ("mount", mount) => run.caches.push(cache_mount(mount).map_err(fail)?),
            _ => return Err(fail(format!("RUN does not know the flag --{name}={value}"))),
        }
    }
    match line.heredocs.as_slice() {
        [] if rest.is_empty() => return Err(fail("RUN wants a command".to_string())),
        [] => {}
        // `RUN <<EOF`: the body is the script.
        [only] if heredoc::opening(rest).is_some() => {
            if only.body.starts_with("#!") {
                return Err(fail(
                    "RUN of a heredoc with its own interpreter (#!) is not supported".to_string(),
                ));
            }
            run.command = Command::Shell(only.body.clone());
        }
        // Any other use is the shell's: it gets the text as it stands.
        all => {
            let mut script = rest.to_string();
            for doc in all {
                script.push_str(&format!("\n{}{}", doc.body, doc.name));
            }
            run.command = Command::Shell(script);
        }
    }
    Ok(run)
}

/// `type=cache,target=/root/.npm[,id=…]`.
fn cache_mount(text: &str) -> Result<CacheMount, String> {
    let values: Vec<(&str, &str)> =
        text.split(',').map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
    let value =
        |names: &[&str]| values.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| *value);
    if value(&["type"]) != Some("cache") {
        return Err(format!("RUN --mount={text} is not supported, only type=cache"));
    }
    let target = value(&["target", "dst", "destination"]).ok_or("RUN --mount=type=cache wants a target")?;
    let id = value(&["id"]).unwrap_or(target);
    Ok(CacheMount { id: id.to_string(), target: target.to_string() })
}

fn command(rest: &str) -> Command {
    json_array(rest).map_or_else(|| Command::Shell(rest.to_string()), Command::Exec)
}

/// The words of an exec form. What is no JSON array of strings is a shell form, as in Docker.
fn json_array(rest: &str) -> Option<Vec<String>> {
    if rest.starts_with('[') { serde_json::from_str(rest).ok() } else { None }
}

/// `name=value …`, or the old form `name the rest`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let words = split(rest);
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) =
            rest.split_once(char::is_whitespace).ok_or_else(|| format!("{first} has no value"))?;
        return Ok(vec![(name.to_string(), value.trim().to_string())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err(format!("{word:?} is not name=value")),
    };
    words.iter().map(pair).collect()
}

/// `NONE`, or `[--interval=30s …] CMD …`, as the image config writes it: durations in nanoseconds.
fn healthcheck(rest: &str) -> Result<Value, String> {
    let (flags, rest) = flags(rest);
    let (kind, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let mut check = match kind.to_ascii_uppercase().as_str() {
        "NONE" => json!({ "Test": ["NONE"] }),
        "CMD" => match command(text.trim()) {
            Command::Shell(text) => json!({ "Test": ["CMD-SHELL", text] }),
            Command::Exec(words) => {
                let test = [vec!["CMD".to_string()], words].concat();
                json!({ "Test": test })
            }
        },
        _ => return Err("HEALTHCHECK wants CMD or NONE".to_string()),
    };
    for (name, value) in flags {
        let field = match name.as_str() {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => {
                check["Retries"] =
                    json!(value.parse::<u32>().map_err(|_| format!("--retries={value} is no number"))?);
                continue;
            }
            _ => return Err(format!("HEALTHCHECK does not know the flag --{name}")),
        };
        let duration = duration(&value).ok_or_else(|| format!("--{name}={value} is no duration"))?;
        check[field] = json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(check)
}

/// Go's durations, as far as people write them here: `90s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += match &rest[digits..unit_end] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::super::Dockerfile;
    use super::*;

    fn one(text: &str) -> Instruction {
        let file =
            Dockerfile::parse(&format!("FROM a\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
        file.stages[0].steps[0].instruction.clone()
    }

    #[test]
    fn commands_have_two_forms() {
        assert_eq!(
            one(r#"CMD ["node", "x.js"]"#),
            Instruction::Cmd(Command::Exec(vec!["node".into(), "x.js".into()]))
        );
        assert_eq!(one("CMD node x.js"), Instruction::Cmd(Command::Shell("node x.js".into())));
        assert_eq!(one("ENTRYPOINT ['x']"), Instruction::Entrypoint(Command::Shell("['x']".into())));
        assert_eq!(one("RUN npm ci \\\n --omit=dev"), run(Command::Shell("npm ci  --omit=dev".into())));
        assert_eq!(one("RUN <<EOF\nset -e\nx\nEOF"), run(Command::Shell("set -e\nx\n".into())));
        assert_eq!(one("RUN cat <<EOF >/x\ny\nEOF"), run(Command::Shell("cat <<EOF >/x\ny\nEOF".into())));
    }

    fn run(command: Command) -> Instruction {
        Instruction::Run(Run { command, caches: vec![], no_network: false })
    }

    #[test]
    fn flags_of_run_and_copy() {
        let Instruction::Run(run) = one("RUN --mount=type=cache,target=/root/.npm --network=none npm ci")
        else {
            panic!("not RUN")
        };
        assert_eq!(run.caches, [CacheMount { id: "/root/.npm".into(), target: "/root/.npm".into() }]);
        assert!(run.no_network);
        let Instruction::Copy(copy) = one("COPY --from=build --chown=node:node --chmod=755 /a /b ./") else {
            panic!("not COPY")
        };
        assert_eq!((copy.from.as_deref(), copy.chown.as_deref()), (Some("build"), Some("node:node")));
        assert_eq!((copy.sources, copy.destination.as_str()), (vec!["/a".into(), "/b".into()], "./"));
        let Instruction::Copy(copy) = one("COPY <<EOF /etc/x\nhello $A\nEOF") else { panic!("not COPY") };
        assert_eq!((copy.sources.len(), copy.heredocs[0].body.as_str()), (0, "hello $A\n"));
        assert!(
            matches!(one(r#"COPY ["a b", "/c d/"]"#), Instruction::Copy(copy) if copy.sources == ["a b"])
        );
    }

    #[test]
    fn settings_of_the_image() {
        let pairs =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        assert_eq!(one(r#"ENV A=1 B="x y""#), Instruction::Env(pairs(&[("A", "1"), ("B", "\"x y\"")])));
        assert_eq!(one("ENV A some text"), Instruction::Env(pairs(&[("A", "some text")])));
        assert_eq!(one("LABEL a.b=c"), Instruction::Label(pairs(&[("a.b", "c")])));
        assert_eq!(one("EXPOSE 80 443/tcp"), Instruction::Expose(vec!["80".into(), "443/tcp".into()]));
        assert_eq!(one(r#"VOLUME ["/a", "/b"]"#), Instruction::Volume(vec!["/a".into(), "/b".into()]));
        assert_eq!(
            one(r#"SHELL ["/bin/bash", "-c"]"#),
            Instruction::Shell(vec!["/bin/bash".into(), "-c".into()])
        );
        let check = one("HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost");
        let expected = json!({ "Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 90_000_000_000u64, "Retries": 2 });
        assert_eq!(check, Instruction::Healthcheck(expected));
    }
}
