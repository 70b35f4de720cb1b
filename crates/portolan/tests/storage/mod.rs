//! A process that holds only what stores: the git host, one API server, the registry. It is this test binary started
//! again, so that a kill ends nothing but it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::{Server, User};
use axum::Router;
use controller::Cluster;
use identity::{Claims, Keyring};

use crate::platform::Guarded;

/// Tells the started binary to be the process, and where.
const VARIABLE: &str = "PORTOLAN_TEST_STORAGE";
/// The test that is the process when the variable is there.
const ENTRY: &str = "storage::the_process_that_is_killed";
/// Start-up on a busy machine.
const START: Duration = Duration::from_secs(30);
const CLUSTER: &str = "/clusters/dev";

/// The running process; dropping it is `kill -9`.
pub(crate) struct Storage {
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) cluster: Cluster,
    _child: Guarded,
}

impl Storage {
    pub(crate) async fn start(data: &Path) -> Self {
        let address_file = data.join("address");
        let _ = std::fs::remove_file(&address_file);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", ENTRY, "--nocapture"]).env(VARIABLE, data);
        let log = std::fs::File::create(data.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = Guarded(command.spawn().unwrap());
        let begun = Instant::now();
        let address = loop {
            match std::fs::read_to_string(&address_file) {
                Ok(address) => break address,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
            let said = || std::fs::read_to_string(data.join("log")).unwrap_or_default();
            assert!(child.0.try_wait().unwrap().is_none(), "the process ended: {}", said());
            assert!(begun.elapsed() < START, "the process did not start: {}", said());
        };
        let base = format!("http://{address}");
        let token = Keyring::open(&data.join("identity.key")).unwrap().sign(&writer());
        let mut config = kube::Config::new(format!("{base}{CLUSTER}").parse().unwrap());
        config.auth_info.token = Some(token.clone().into());
        let cluster = Cluster::new(kube::Client::try_from(config).unwrap(), "test");
        Self { base, token, cluster, _child: child }
    }
}

/// Who writes: everything is allowed.
fn writer() -> Claims {
    Claims {
        subject: "priyanka".to_owned(),
        name: "Priyanka".to_owned(),
        email: "priyanka@platform.example".to_owned(),
        groups: vec![],
        scopes: vec!["*".to_owned()],
        expires_at_s: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(data) = std::env::var_os(VARIABLE) else { return };
    let data = Path::new(&data);
    let keyring = Keyring::open(&data.join("identity.key")).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(data, keyring, &address.to_string()).await;
    // The file appears whole: the name is given to it when it is complete.
    std::fs::write(data.join("address.new"), address.to_string()).unwrap();
    std::fs::rename(data.join("address.new"), data.join("address")).unwrap();
    axum::serve(listener, router).await.unwrap();
}

async fn router(data: &Path, keyring: Keyring, address: &str) -> Router {
    let place = |name: &str| {
        let folder = data.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let checker = keyring.clone();
    let options = apiserver::Options {
        name: "dev".to_owned(),
        dir: place("cluster"),
        authenticate: Arc::new(move |token| {
            let claims = checker.verify(token).ok()?;
            Some(User { name: claims.subject, uid: String::new(), groups: vec!["system:masters".to_owned()] })
        }),
        kubelets: None,
        service_cidr: "10.96.0.0/16".to_owned(),
        external_url: format!("http://{address}{CLUSTER}"),
        ca_pem: None,
        path_prefix: CLUSTER.to_owned(),
    };
    let options_of_registry =
        registry::Options { access: registry::Access::Keyring(Box::new(keyring.clone())), offline: true };
    let images = Arc::new(registry::Registry::open(&place("registry"), options_of_registry).unwrap());
    let person = git::host::Person {
        login: "priyanka".to_owned(),
        name: "Priyanka".to_owned(),
        email: "priyanka@platform.example".to_owned(),
    };
    let options_of_git = git::Options {
        public_url: Some(format!("http://{address}")),
        organizations: vec!["platform".to_owned()],
        people: vec![person],
    };
    let host = git::Host::open(&place("git"), keyring, options_of_git).await.unwrap();
    let server = Server::open(options).await.unwrap();
    let (server, images, host) = (server.router(), images.router(), host.router());
    Router::new().nest(CLUSTER, server).fallback(async move |request: axum::extract::Request| {
        use tower::ServiceExt as _;
        let part = if request.uri().path().starts_with("/v2/") { images.clone() } else { host.clone() };
        part.oneshot(request).await
    })
}
