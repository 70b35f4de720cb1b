//! One container of a pod: pull, create, start, watch, restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use controller::{EventType, now};
use nix::sys::signal::Signal;
use object::quantity::Quantity;
use registry::pull::UnpackedImage;
use sandbox::{Capabilities, EnterSpec, Limits, Mount, MountKind, Network, Spec, User};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{self, Backoff};
use super::console::Console;
use super::logs::{self, LogFile};
use super::sources::Sources;
use super::state::{Ended, Role, State};
use super::{Pod, env, hooks, probe, volumes};
use crate::network::{DNS, services::ZONE};

/// Processes per container; the limit that keeps a fork bomb in its container.
const PIDS: u64 = 4096;
/// How long a container may take to end when nothing says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// Longest termination message, in bytes.
const MESSAGE_BYTES: usize = 4096;
/// Pause before a container whose configuration is incomplete is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(5);

/// Why an instance did not come to run: the reason of its waiting state, and a message.
struct NotRun {
    reason: &'static str,
    message: String,
}

/// Runs the container, again and again as its policy says, until it is over or `stop`.
pub(crate) async fn run(pod: Arc<Pod>, spec: Value, stop: CancellationToken) {
    let name = spec["name"].as_str().unwrap_or_default().to_owned();
    if pod.state().container(&name).is_some_and(|one| one.ended().is_some()) {
        // It ended for good before the node started again.
        return;
    }
    let mut restarts = Backoff::default();
    let waits_for_init =
        array(&pod.object()["spec"]["initContainers"]).iter().any(|one| one["restartPolicy"] != "Always");
    let first = if waits_for_init { "PodInitializing" } else { "ContainerCreating" };
    wait_state(&pod, &name, first, "");
    while !stop.is_cancelled() {
        let Some(image) = pull(&pod, &name, &spec, &stop).await else { return };
        let begun = Instant::now();
        let ended = match start(&pod, &spec, &image).await {
            Ok(running) => running.until_end(&pod, &spec, &stop).await,
            Err(not_run) if not_run.reason == "CreateContainerConfigError" => {
                wait_state(&pod, &name, not_run.reason, &not_run.message);
                pod.event(EventType::Warning, "Failed", &format!("Error: {}", not_run.message)).await;
                tokio::select! {
                    () = tokio::time::sleep(CONFIG_RETRY) => continue,
                    () = stop.cancelled() => return,
                }
            }
            Err(not_run) => {
                pod.event(EventType::Warning, "Failed", &format!("Error: {}", not_run.message)).await;
                never_ran(not_run)
            }
        };
        let code = ended.code;
        pod.update_container(&name, |one| {
            (one.ready, one.started, one.pid) = (false, false, None);
            one.state = State::Ended(ended);
        });
        if stop.is_cancelled() || !restarts_after(&pod, &spec, code) {
            return;
        }
        let wait = restarts.step(begun.elapsed());
        if !back_off(&pod, &name, wait, &stop).await {
            return;
        }
    }
}

/// Waits before a restart, and says so; false if the pod ends meanwhile.
async fn back_off(pod: &Arc<Pod>, name: &str, wait: Duration, stop: &CancellationToken) -> bool {
    let identity = format!("{}_{}({})", pod.key.name, pod.key.namespace, pod.uid);
    if !wait.is_zero() {
        let text = backoff::text(wait);
        let message = format!("back-off {text} restarting failed container={name} pod={identity}");
        move_to_last(pod, name, "CrashLoopBackOff", &message);
        let event = format!("Back-off restarting failed container {name} in pod {identity}");
        pod.event(EventType::Warning, "BackOff", &event).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {
                // It stays ended: nothing of it runs.
                pod.update_container(name, |one| {
                    if let Some(last) = one.last.clone() {
                        one.state = State::Ended(last);
                    }
                });
                return false;
            }
        }
    } else {
        move_to_last(pod, name, "ContainerCreating", "");
    }
    pod.update_container(name, |one| one.restarts += 1);
    true
}

fn move_to_last(pod: &Pod, name: &str, reason: &str, message: &str) {
    pod.update_container(name, |one| {
        if let Some(ended) = one.ended() {
            one.last = Some(ended.clone());
        }
        one.state = State::Waiting { reason: reason.to_owned(), message: message.to_owned() };
    });
}

fn wait_state(pod: &Pod, name: &str, reason: &str, message: &str) {
    pod.update_container(name, |one| {
        one.state = State::Waiting { reason: reason.to_owned(), message: message.to_owned() };
    });
}

fn never_ran(not_run: NotRun) -> Ended {
    Ended {
        code: 128,
        reason: "StartError".into(),
        message: not_run.message,
        started_at: now(),
        finished_at: now(),
        ..Ended::default()
    }
}

fn restarts_after(pod: &Pod, spec: &Value, code: i32) -> bool {
    let object = pod.object();
    let policy = object["spec"]["restartPolicy"].as_str().unwrap_or("Always");
    let role = pod.state().container(spec["name"].as_str().unwrap_or_default()).map(|one| one.role);
    match (role, policy) {
        (Some(Role::Sidecar), _) => true,
        (Some(Role::Init), "Never") => false,
        (Some(Role::Init), _) => code != 0,
        (_, "Always") => true,
        (_, "OnFailure") => code != 0,
        _ => false,
    }
}

/// The image, after as many attempts as it takes; none if the pod ends first.
async fn pull(pod: &Arc<Pod>, name: &str, spec: &Value, stop: &CancellationToken) -> Option<UnpackedImage> {
    let image = spec["image"].as_str().unwrap_or_default();
    let mut waits = Backoff::waiting_first();
    loop {
        let attempt = tokio::select! {
            attempt = pod.node.images.get(pod, image, spec["imagePullPolicy"].as_str()) => attempt,
            () = stop.cancelled() => return None,
        };
        let (reason, message) = match attempt {
            Ok(found) => {
                pod.update_container(name, |one| {
                    one.image_id = format!("{}@{}", found.reference.repository, found.digest)
                });
                return Some(found);
            }
            Err(error) => error,
        };
        wait_state(pod, name, reason, &message);
        pod.event(EventType::Warning, "Failed", &format!("Error: {reason}")).await;
        let wait = waits.step(Duration::ZERO);
        let again = async {
            if reason == "ErrImagePull" {
                // Shown for a moment, as the kubelet's next look at the pod would.
                tokio::time::sleep(Duration::from_secs(1)).await;
                wait_state(
                    pod,
                    name,
                    "ImagePullBackOff",
                    &format!("Back-off pulling image {image:?}: {message}"),
                );
                pod.event(EventType::Normal, "BackOff", &format!("Back-off pulling image {image:?}")).await;
            }
            tokio::time::sleep(wait).await;
        };
        tokio::select! {
            () = again => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// An instance that runs.
struct Running {
    name: String,
    child: sandbox::Child,
    log: Arc<LogFile>,
    console: Arc<Console>,
    copies: Vec<tokio::task::JoinHandle<()>>,
    scratch: PathBuf,
    cgroup: Option<String>,
    id: String,
    since: String,
    stop_signal: Signal,
    message_file: PathBuf,
}

/// Makes an instance and starts its program.
async fn start(pod: &Arc<Pod>, spec: &Value, image: &UnpackedImage) -> Result<Running, NotRun> {
    let name = spec["name"].as_str().unwrap_or_default().to_owned();
    let config_error = |message: String| NotRun { reason: "CreateContainerConfigError", message };
    let create_error = |message: String| NotRun { reason: "CreateContainerError", message };
    let restarts = pod.state().container(&name).map_or(0, |one| one.restarts);
    let id = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let scratch = pod.dir().join("containers").join(&name).join(restarts.to_string());
    let io = |error: std::io::Error| create_error(error.to_string());
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).map_err(io)?;
    let message_file = scratch.join("termination-log");
    std::fs::write(&message_file, "").map_err(io)?;
    let user = user_of(pod, spec, image).map_err(config_error)?;
    open_to(&message_file, &user).map_err(io)?;
    let env = environment(pod, spec, image, &user).await?;
    let mut sandbox_spec = describe(pod, spec, image, env, user).map_err(config_error)?;
    sandbox_spec.scratch = scratch.clone();
    sandbox_spec.mounts.push(Mount {
        kind: MountKind::Bind(message_file.clone()),
        target: spec["terminationMessagePath"].as_str().unwrap_or("/dev/termination-log").into(),
        read_only: false,
    });
    let cgroup = pod.node.cgroups.as_ref().map(|cgroups| (cgroups, format!("{}-{name}", pod.uid)));
    if let Some((cgroups, group)) = &cgroup {
        sandbox_spec.cgroup =
            cgroups.create(group, &limits(spec)).map_err(|error| create_error(error.to_string()))?;
    }
    let log = LogFile::create(&pod.log_dir(&name).join(format!("{restarts}.log"))).map_err(io)?;
    let (stdio, console, outputs) = Console::open(spec).map_err(io)?;
    sandbox_spec.terminal = spec["tty"] == true;
    pod.event(EventType::Normal, "Created", &format!("Created container: {name}")).await;
    let child = sandbox::spawn(&pod.node.config.launcher, &sandbox_spec, stdio).await;
    let child =
        child.map_err(|error| NotRun { reason: "RunContainerError", message: controller::chain(&error) })?;
    let copies = console.copy(outputs, &log);
    let since = now();
    let id = format!("portolan://{id}");
    let enter = enter_spec(&sandbox_spec, child.pid());
    pod.change_instance(&name, |instance| {
        instance.previous = instance.log.take();
        instance.log = Some(log.clone());
        instance.enter = Some(enter);
        instance.console = Some(console.clone());
    });
    let pid = child.pid();
    pod.update_container(&name, |one| {
        one.state = State::Running { since: since.clone() };
        (one.id, one.pid) = (id.clone(), Some(pid));
    });
    pod.event(EventType::Normal, "Started", &format!("Started container {name}")).await;
    let stop_signal = signal_of(image.config.config.stop_signal.as_deref());
    let cgroup = cgroup.map(|(_, group)| group);
    Ok(Running { name, child, log, console, copies, scratch, cgroup, id, since, stop_signal, message_file })
}

impl Running {
    /// Probes it and waits for its end, which `stop` or a probe may bring about.
    async fn until_end(mut self, pod: &Arc<Pod>, spec: &Value, stop: &CancellationToken) -> Ended {
        let (kill, mut kills) = mpsc::channel(1);
        let hooked = post_start(pod, spec).await;
        let probes = tokio::spawn(probe::watch(pod.clone(), spec.clone(), kill));
        let object_grace = pod.object()["spec"]["terminationGracePeriodSeconds"].as_u64();
        let grace = object_grace.map_or(DEFAULT_GRACE, Duration::from_secs);
        let exit = if let Err(message) = hooked {
            pod.event(EventType::Warning, "FailedPostStartHook", &message).await;
            self.end(pod, spec, grace).await
        } else {
            tokio::select! {
                exit = self.child.wait() => exit,
                Some(kill) = kills.recv() => {
                    pod.event(EventType::Normal, "Killing", &kill.message).await;
                    self.end(pod, spec, kill.grace.unwrap_or(grace)).await
                }
                () = stop.cancelled() => {
                    let object = pod.object();
                    let name = &self.name;
                    if !pod.gone.is_cancelled() && !pod.node.stop.is_cancelled() {
                        let record = pod.node.recorder.clone();
                        let message = format!("Stopping container {name}");
                        tokio::spawn(async move { record.record(&object, EventType::Normal, "Killing", &message).await });
                    }
                    self.end(pod, spec, pod.grace_left()).await
                }
            }
        };
        // Readiness is asked until the end: endpoints follow it.
        probes.abort();
        let exit = exit.unwrap_or(sandbox::Exit { code: 137, signal: Some(9) });
        self.wind_up(pod, spec, exit).await
    }

    /// `preStop`, the stop signal, and when the grace period is over, the end by force.
    async fn end(
        &mut self,
        pod: &Arc<Pod>,
        spec: &Value,
        grace: Duration,
    ) -> Result<sandbox::Exit, sandbox::SpawnError> {
        let until = Instant::now() + grace;
        let hook = &spec["lifecycle"]["preStop"];
        if hook.is_object() && !pod.node.stop.is_cancelled() {
            tokio::select! {
                exit = self.child.wait() => return exit,
                result = tokio::time::timeout_at(until, hooks::run(pod, spec, hook)) => {
                    if !matches!(result, Ok(Ok(()))) {
                        pod.event(EventType::Warning, "FailedPreStopHook", "PreStopHook failed").await;
                    }
                }
            }
        }
        self.child.signal(self.stop_signal);
        let until = until.max(Instant::now() + Duration::from_secs(if grace.is_zero() { 0 } else { 1 }));
        loop {
            // The deadline may come nearer while the pod ends.
            let nearer = Instant::now() + pod.grace_left();
            let deadline = if pod.ending.is_cancelled() { until.min(nearer) } else { until };
            let look_again = deadline.min(Instant::now() + Duration::from_secs(1));
            match tokio::time::timeout_at(look_again, self.child.wait()).await {
                Ok(exit) => return exit,
                Err(_) if Instant::now() < deadline => {}
                Err(_) => break,
            }
        }
        self.child.signal(Signal::SIGKILL);
        self.child.wait().await
    }

    /// What is left of it: its log, its last words, and why it ended.
    async fn wind_up(self, pod: &Arc<Pod>, spec: &Value, exit: sandbox::Exit) -> Ended {
        for copy in self.copies {
            // A process that left the container's process namespace cannot be; the pipes are closed by now.
            let _ = tokio::time::timeout(Duration::from_secs(2), copy).await;
        }
        self.log.close();
        self.console.close();
        pod.change_instance(&self.name, |instance| (instance.enter, instance.console) = (None, None));
        let mut oom = false;
        if let (Some(cgroups), Some(group)) = (&pod.node.cgroups, &self.cgroup) {
            oom = exit.code != 0 && cgroups.usage(group).oom_kills > 0;
            cgroups.remove(group);
        }
        let reason = match exit.code {
            _ if oom => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        let mut message = std::fs::read(&self.message_file).unwrap_or_default();
        message.truncate(MESSAGE_BYTES);
        let mut message = String::from_utf8_lossy(&message).into_owned();
        if message.is_empty() && exit.code != 0 && spec["terminationMessagePolicy"] == "FallbackToLogsOnError"
        {
            message = logs::tail(self.log.path());
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
        Ended {
            code: exit.code,
            // The kubelet's own field is of container runtimes of old and always empty now.
            signal: None,
            reason: reason.to_owned(),
            message,
            started_at: self.since,
            finished_at: now(),
            id: self.id,
        }
    }
}

async fn post_start(pod: &Arc<Pod>, spec: &Value) -> Result<(), String> {
    let hook = &spec["lifecycle"]["postStart"];
    if !hook.is_object() {
        return Ok(());
    }
    hooks::run(pod, spec, hook).await.map_err(|error| format!("PostStartHook failed: {error}"))
}

async fn environment(
    pod: &Arc<Pod>,
    spec: &Value,
    image: &UnpackedImage,
    user: &User,
) -> Result<Vec<(String, String)>, NotRun> {
    let config_error = |message: String| NotRun { reason: "CreateContainerConfigError", message };
    let mut sources = Sources::default();
    let mut named = env::references(spec);
    let mut take = |kind: &str| named.remove(kind).unwrap_or_default();
    let (config_maps, secrets) = (take("configmap"), take("secret"));
    let fetched = sources.fetch(&pod.node.cluster, &pod.key.namespace, &config_maps, &secrets).await;
    fetched.map_err(|error| config_error(error.to_string()))?;
    let home = sandbox::home_of(&image.layer_dirs, image.host_image.is_some(), user.uid);
    let around = env::Surroundings {
        pod: &pod.object(),
        sources: &sources,
        image: &image.config.config.env,
        services: &pod.node.services.list(),
        pod_ip: &pod.ip(),
        host_ip: &pod.node.host_ip(),
        hostname: &hostname(&pod.object()),
        home: &home.to_string_lossy(),
    };
    env::build(spec, &around).map_err(|error| config_error(error.to_string()))
}

/// Everything about the instance but its scratch directory and control group.
fn describe(
    pod: &Arc<Pod>,
    spec: &Value,
    image: &UnpackedImage,
    env: Vec<(String, String)>,
    user: User,
) -> Result<Spec, String> {
    let object = pod.object();
    let run = &image.config.config;
    let context = |key: &str| {
        let own = &spec["securityContext"][key];
        if own.is_null() { &object["spec"]["securityContext"][key] } else { own }
    };
    let known = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let made = pod.volumes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mounts = volumes::mounts(spec, &made, |text| env::expand(text, known))
        .map_err(|error| controller::chain(&error))?;
    let args = env::command(
        spec,
        run.entrypoint.as_deref().unwrap_or_default(),
        run.cmd.as_deref().unwrap_or_default(),
        &env,
    );
    if args.is_empty() {
        return Err("no command specified".into());
    }
    let network =
        pod.network.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|network| network.path());
    let cwd = spec["workingDir"].as_str().unwrap_or(&run.working_dir);
    let names = |list: &Value| array(list).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    Ok(Spec {
        layers: image.layer_dirs.clone(),
        host_base: image.host_image.is_some(),
        mounts,
        args,
        env,
        cwd: Path::new(if cwd.is_empty() { "/" } else { cwd }).to_owned(),
        user,
        hostname: hostname(&object),
        resolv_conf: Some(resolv_conf(&object)),
        hosts: Some(hosts(&object, &pod.ip())),
        network: Network::Namespace(network.ok_or("the pod's network is gone")?),
        no_new_privs: context("allowPrivilegeEscalation") == false,
        capabilities: Capabilities {
            add: names(&spec["securityContext"]["capabilities"]["add"]),
            drop: names(&spec["securityContext"]["capabilities"]["drop"]),
        },
        read_only_root: context("readOnlyRootFilesystem") == true,
        ..Spec::default()
    })
}

fn enter_spec(spec: &Spec, pid: u32) -> EnterSpec {
    EnterSpec {
        pid,
        args: Vec::new(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        user: spec.user.clone(),
        cgroup: spec.cgroup.clone(),
        no_new_privs: spec.no_new_privs,
        capabilities: spec.capabilities.clone(),
        terminal: false,
    }
}

/// The user: the container's security context, the pod's, then the image's.
fn user_of(pod: &Pod, spec: &Value, image: &UnpackedImage) -> Result<User, String> {
    let object = pod.object();
    let context = |key: &str| {
        let own = &spec["securityContext"][key];
        if own.is_null() { object["spec"]["securityContext"][key].clone() } else { own.clone() }
    };
    let number = |key: &str| context(key).as_u64().and_then(|n| u32::try_from(n).ok());
    let resolve = |text: &str| sandbox::resolve_user(&image.layer_dirs, image.host_image.is_some(), text);
    let wanted = number("runAsUser");
    let text = wanted.map_or_else(|| image.config.config.user.clone(), |uid| uid.to_string());
    let mut user = resolve(&text).map_err(|error| error.to_string())?;
    if let Some(gid) = number("runAsGroup") {
        user.gid = gid;
    }
    if context("runAsNonRoot") == true && user.uid == 0 {
        let identity = format!("{}_{}({})", pod.key.name, pod.key.namespace, pod.uid);
        let name = spec["name"].as_str().unwrap_or_default();
        return Err(format!(
            "container has runAsNonRoot and image will run as root (pod: {identity:?}, container: {name})"
        ));
    }
    let more = array(&object["spec"]["securityContext"]["supplementalGroups"]).iter();
    let more = more.chain([&object["spec"]["securityContext"]["fsGroup"]]);
    user.groups.extend(more.filter_map(|group| group.as_u64().and_then(|n| u32::try_from(n).ok())));
    Ok(user)
}

/// Lets the container's user write a file of the node's.
fn open_to(path: &Path, user: &User) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).is_err() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    }
    Ok(())
}

fn limits(spec: &Value) -> Limits {
    let amount = |part: &str, name: &str| Quantity::from_value(&spec["resources"][part][name]).ok();
    let bytes = amount("limits", "memory").and_then(|one| u64::try_from(one.value()).ok());
    let millis = |part| amount(part, "cpu").and_then(|one| u64::try_from(one.milli_value()).ok());
    Limits {
        memory_bytes: bytes.filter(|bytes| *bytes > 0),
        cpu_millis: millis("limits").filter(|millis| *millis > 0),
        cpu_request_millis: Some(millis("requests").unwrap_or(0)),
        pids: Some(PIDS),
    }
}

/// A pod's host name: its own field, else its name cut to 63 letters.
pub(crate) fn hostname(pod: &Value) -> String {
    let name = pod["spec"]["hostname"].as_str().or(pod["metadata"]["name"].as_str()).unwrap_or_default();
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// `/etc/resolv.conf` by the pod's DNS policy and its additions.
pub(crate) fn resolv_conf(pod: &Value) -> String {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let own = &pod["spec"]["dnsConfig"];
    let texts = |list: &Value| {
        array(list).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (mut servers, mut searches, mut options) =
        (texts(&own["nameservers"]), texts(&own["searches"]), Vec::new());
    if pod["spec"]["dnsPolicy"] != "None" {
        servers.insert(0, DNS.to_string());
        let cluster = [format!("{namespace}.svc.{ZONE}"), format!("svc.{ZONE}"), ZONE.to_owned()];
        searches.splice(0..0, cluster);
        options.push("ndots:5".to_owned());
    }
    for option in array(&own["options"]) {
        let name = option["name"].as_str().unwrap_or_default();
        options.retain(|known: &String| known.split(':').next() != Some(name));
        options.push(
            option["value"].as_str().map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")),
        );
    }
    let mut text = String::new();
    // More than three are ignored by resolvers.
    servers.iter().take(3).for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

/// `/etc/hosts` as the kubelet writes it.
pub(crate) fn hosts(pod: &Value, ip: &str) -> String {
    let name = hostname(pod);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    match pod["spec"]["subdomain"].as_str().filter(|text| !text.is_empty()) {
        Some(subdomain) => {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            text.push_str(&format!("{ip}\t{name}.{subdomain}.{namespace}.svc.{ZONE}\t{name}\n"));
        }
        None => text.push_str(&format!("{ip}\t{name}\n")),
    }
    let aliases = array(&pod["spec"]["hostAliases"]);
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names: Vec<&str> = array(&alias["hostnames"]).iter().filter_map(Value::as_str).collect();
        text.push_str(&format!("{}\t{}\n", alias["ip"].as_str().unwrap_or_default(), names.join("\t")));
    }
    text
}

/// An image's stop signal: `SIGQUIT`, `QUIT` or a number.
fn signal_of(text: Option<&str>) -> Signal {
    let Some(text) = text else { return Signal::SIGTERM };
    let by_number = text.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
    let by_name = || format!("SIG{}", text.trim_start_matches("SIG")).parse().ok();
    by_number.or_else(by_name).unwrap_or(Signal::SIGTERM)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_for_pods() {
        let pod = json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": {"subdomain": "web",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}], "searches": ["x.y"]}}});
        let text = hosts(&pod, "10.244.0.5");
        assert!(text.contains("\n10.244.0.5\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
        assert_eq!(
            resolv_conf(&pod),
            "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local x.y\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn stop_signals() {
        let check = |text: Option<&str>, expected: Signal| assert_eq!(signal_of(text), expected, "{text:?}");
        check(None, Signal::SIGTERM);
        check(Some("SIGQUIT"), Signal::SIGQUIT);
        check(Some("INT"), Signal::SIGINT);
        check(Some("9"), Signal::SIGKILL);
        check(Some("nonsense"), Signal::SIGTERM);
    }
}
