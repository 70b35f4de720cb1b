//! A Deployment becomes processes that answer, through the Service's name inside and the gateway outside, and does so
//! again after the platform was stopped and after it was killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use object::{Key, kinds, meta};
use platform::{Platform, SOON, eventually, web};

async fn answers(platform: &Platform, expected: &str) {
    let asked = async || {
        let (status, text) = platform.through_gateway("web.localhost", "/").await?;
        (status == 200 && text.starts_with(expected)).then_some(())
    };
    eventually(&format!("the gateway answers {expected:?}"), SOON, asked).await;
}

async fn apply(platform: &Platform, manifest: &str) {
    let cluster = platform.cluster("dev").await;
    let documents = yaml::parse_documents(manifest, yaml::Resolver::Kubectl).unwrap();
    for object in documents {
        let resource = cluster.resolve(meta::api_version(&object), meta::kind(&object)).await.unwrap();
        cluster.apply(&resource, &object, "test").await.unwrap();
    }
}

async fn available(platform: &Platform, replicas: i64) {
    let cluster = platform.cluster("dev").await;
    let rolled_out = async || {
        let found = cluster.get(&kinds::DEPLOYMENT, &Key::new("default", "web")).await.ok()??;
        let status = &found["status"];
        let is = |field: &str| status[field].as_i64() == Some(replicas);
        let current = status["observedGeneration"].as_i64() == Some(meta::generation(&found));
        (current && is("availableReplicas") && is("updatedReplicas") && is("replicas")).then_some(())
    };
    eventually(&format!("{replicas} replicas are available"), SOON, rolled_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_answers_and_does_so_again_after_each_restart() {
    if std::process::Command::new("node").arg("--version").output().is_err() {
        println!("skipped: node is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::start_on(folder.path(), &[]).await;
    platform.ready().await;
    apply(&platform, &web::manifest("one")).await;
    available(&platform, 2).await;
    answers(&platform, "one").await;

    let names = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let both = async || {
        let (_, text) = platform.through_gateway("web.localhost", "/").await?;
        names.borrow_mut().insert(text);
        (names.borrow().len() == 2).then_some(())
    };
    eventually("both pods get their share", SOON, both).await;

    apply(&platform, &web::manifest("two")).await;
    available(&platform, 2).await;
    answers(&platform, "two").await;

    assert_eq!(platform.terminate().await.code(), Some(0));
    let mut platform = Platform::start_on(folder.path(), &[]).await;
    answers(&platform, "two").await;
    available(&platform, 2).await;

    platform.kill();
    let platform = Platform::start_on(folder.path(), &[]).await;
    answers(&platform, "two").await;
    available(&platform, 2).await;
    assert!(platform.through_gateway("nobody.localhost", "/").await.is_some_and(|(status, _)| status == 404));
}
