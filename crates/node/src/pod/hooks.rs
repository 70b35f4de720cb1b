//! What is done to a container from outside: lifecycle hooks, and the requests that hooks and probes share.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::Pod;

/// Longest answer or output that is read of a hook or probe; the kubelet's limit.
const OUTPUT_BYTES: usize = 10 << 10;

/// The answer to a request: status and the head of the body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

/// Why an action could not be done, in words for an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    /// The container did not do as asked.
    #[error("{0}")]
    Failed(String),
    /// It could not be asked.
    #[error("{0}")]
    Impossible(String),
}

/// Runs a lifecycle handler to its end.
pub(crate) async fn run(pod: &Pod, container: &Value, handler: &Value) -> Result<(), ActionError> {
    let name = container["name"].as_str().unwrap_or_default();
    if let Some(seconds) = handler["sleep"]["seconds"].as_u64() {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    if handler["exec"].is_object() {
        let (code, output) = exec(pod, name, &handler["exec"]["command"]).await?;
        return if code == 0 {
            Ok(())
        } else {
            Err(ActionError::Failed(format!("command exited with {code}: {output}")))
        };
    }
    if handler["httpGet"].is_object() {
        let answer = get(pod, container, &handler["httpGet"], handler["httpGet"]["path"].as_str()).await?;
        return match answer.status {
            200..400 => Ok(()),
            status => Err(ActionError::Failed(format!("HTTP hook answered with statuscode: {status}"))),
        };
    }
    Ok(())
}

/// Runs a command in the container: its exit code and the head of its output.
pub(crate) async fn exec(pod: &Pod, container: &str, command: &Value) -> Result<(i32, String), ActionError> {
    let mut spec = pod
        .instance(container)
        .enter
        .ok_or_else(|| ActionError::Impossible(format!("container {container:?} is not running")))?;
    spec.args = array(command).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    let impossible = |error: &dyn std::fmt::Display| ActionError::Impossible(error.to_string());
    let (reader, writer) = std::io::pipe().map_err(|error| impossible(&error))?;
    let second = writer.try_clone().map_err(|error| impossible(&error))?;
    let stdio = sandbox::Stdio { stdin: None, stdout: Some(writer.into()), stderr: Some(second.into()) };
    let mut child = match sandbox::enter(&pod.node.config.launcher, &spec, stdio).await {
        Ok(child) => child,
        Err(sandbox::SpawnError::Refused(message)) => return Ok((126, message)),
        Err(error) => return Err(impossible(&error)),
    };
    let reader =
        tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(|error| impossible(&error))?;
    let mut output = Vec::new();
    let read = async {
        let mut limited = reader.take(OUTPUT_BYTES as u64);
        let _ = limited.read_to_end(&mut output).await;
        // What is beyond the limit is thrown away, so that the command does not block on it.
        let _ = tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await;
    };
    let (exit, ()) = tokio::join!(child.wait(), read);
    let exit = exit.map_err(|error| impossible(&error))?;
    Ok((exit.code, String::from_utf8_lossy(&output).trim_end().to_owned()))
}

/// One GET as a probe does it: no TLS verification (and so no TLS here), no redirects followed.
pub(crate) async fn get(
    pod: &Pod,
    container: &Value,
    action: &Value,
    path: Option<&str>,
) -> Result<Answer, ActionError> {
    if action["scheme"] == "HTTPS" {
        return Err(ActionError::Impossible(
            "HTTPS is not available for probes and hooks on this node".into(),
        ));
    }
    let address = address(pod, container, action)?;
    let failed = |error: &dyn std::fmt::Display| ActionError::Failed(error.to_string());
    let stream = pod
        .node
        .network
        .dial(address)
        .await
        .map_err(|error| failed(&format!("dial tcp {address}: {error}")))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let path = path.filter(|path| path.starts_with('/')).unwrap_or("/");
    let mut request =
        http::Request::get(path).header("user-agent", "kube-probe/1.33").header("accept", "*/*");
    let mut host = address.to_string();
    for header in array(&action["httpHeaders"]) {
        let (name, value) =
            (header["name"].as_str().unwrap_or_default(), header["value"].as_str().unwrap_or_default());
        if name.eq_ignore_ascii_case("host") {
            value.clone_into(&mut host);
        } else {
            request = request.header(name, value);
        }
    }
    let request =
        request.header("host", host).header("connection", "close").body(Empty::<bytes::Bytes>::new());
    let request = request.map_err(|error| ActionError::Impossible(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let location =
        response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), OUTPUT_BYTES).collect().await;
    driver.abort();
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    Ok(Answer { status, location, body })
}

/// Where a network action goes: the pod's address and the (possibly named) port.
pub(crate) fn address(pod: &Pod, container: &Value, action: &Value) -> Result<SocketAddr, ActionError> {
    let host = action["host"].as_str().map_or_else(|| pod.ip(), str::to_owned);
    let ip: Ipv4Addr =
        host.parse().map_err(|_| ActionError::Impossible(format!("{host:?} is no address")))?;
    let port = match &action["port"] {
        Value::String(name) if name.parse::<u16>().is_err() => {
            let ports = array(&container["ports"]);
            ports
                .iter()
                .find(|port| port["name"] == name.as_str())
                .and_then(|port| port["containerPort"].as_u64())
        }
        Value::String(number) => number.parse().ok(),
        number => number.as_u64(),
    };
    let port = port.and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| ActionError::Impossible(format!("no port is named {}", action["port"])))?;
    Ok(SocketAddr::from((ip, port)))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
