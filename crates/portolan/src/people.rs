//! The sample organisation's people (local mode), and what each may do.
//!
//! Who they are and their addresses agree with `samples/org/catalog-info.yaml`, from which the catalog shows them;
//! a test compares the two.

use std::collections::BTreeMap;

use apiserver::User;
use identity::{Claims, Keyring};
use serde_json::{Value, json};

/// The sample organisation in the git host.
pub(crate) const ORGANISATION: &str = "platform";
/// Every signed-in person has this group in the clusters.
const PEOPLE_GROUP: &str = "portolan:people";
/// A portal session or `portolan token` lasts a working week.
const TOKEN_LIFE_S: i64 = 7 * 24 * 3600;

/// One person of the sample organisation.
pub(crate) struct Person {
    pub(crate) login: &'static str,
    pub(crate) name: &'static str,
    pub(crate) role: &'static str,
    pub(crate) groups: &'static [&'static str],
    pub(crate) scopes: &'static [&'static str],
}

const WRITER: &[&str] =
    &["repo:platform/*:write", "registry:platform/*:pull", "scaffolder:*:write", "pipelines:*:write"];
const READER: &[&str] = &["repo:platform/*:read", "registry:platform/*:pull"];
const ADMIN: &[&str] = &[
    "repo:platform/*:admin",
    "registry:platform/*:push",
    "scaffolder:*:write",
    "pipelines:*:write",
    "cluster:*:admin",
];

/// Everybody, in the order of the sign-in page.
pub(crate) const PEOPLE: &[Person] = &[
    Person {
        login: "sasha",
        name: "Sasha",
        role: "Software developer",
        groups: &["platform-team"],
        scopes: WRITER,
    },
    Person {
        login: "priyanka",
        name: "Priyanka",
        role: "Platform engineer",
        groups: &["platform"],
        scopes: ADMIN,
    },
    Person {
        login: "rachel",
        name: "Rachel",
        role: "Release manager",
        groups: &["release-managers"],
        scopes: WRITER,
    },
    Person { login: "amy", name: "Amy", role: "Security engineer", groups: &["security"], scopes: WRITER },
    Person {
        login: "sidney",
        name: "Sidney",
        role: "Systems administrator",
        groups: &["operations"],
        scopes: ADMIN,
    },
    Person {
        login: "allison",
        name: "Allison",
        role: "Application operations",
        groups: &["operations"],
        scopes: READER,
    },
    Person {
        login: "cameron",
        name: "Cameron",
        role: "Compliance, read only",
        groups: &["compliance"],
        scopes: READER,
    },
];

/// The person with this login.
pub(crate) fn find(login: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.login.eq_ignore_ascii_case(login))
}

impl Person {
    /// What a token of this person says.
    pub(crate) fn claims(&self) -> Claims {
        Claims {
            subject: self.login.to_owned(),
            name: self.name.to_owned(),
            email: format!("{}@example.com", self.login),
            groups: self.groups.iter().map(|g| (*g).to_owned()).collect(),
            scopes: self.scopes.iter().map(|s| (*s).to_owned()).collect(),
            expires_at_s: Some(jiff::Timestamp::now().as_second() + TOKEN_LIFE_S),
        }
    }
}

impl Person {
    /// As the sign-in page offers it.
    pub(crate) fn choice(&self) -> portal::SignInChoice {
        portal::SignInChoice {
            role: self.role.to_owned(),
            claims: |login| find(login).map(Person::claims),
            login: self.login.to_owned(),
            name: self.name.to_owned(),
        }
    }
}

/// A robot's claims: a part of the platform that speaks to another part over its public protocol.
pub(crate) fn robot(part: &str, scopes: &[&str]) -> Claims {
    Claims {
        subject: format!("system:{part}"),
        name: format!("Portolan {part}"),
        email: format!("{part}@portolan.example.com"),
        groups: vec![],
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        expires_at_s: None,
    }
}

/// The secrets that a repository's workflows find: `GITOPS_PAT` may write to exactly the deploy repository that
/// belongs to `<project>-frontend`, `<project>-backend` and the like.
pub(crate) fn workflow_secrets(keyring: &Keyring, repository: &str) -> BTreeMap<String, String> {
    let Some((project, part)) = repository.rsplit_once('-').filter(|(_, part)| *part != "deploy") else {
        return BTreeMap::new();
    };
    let scope = format!("repo:{project}-deploy:write");
    let token = keyring.sign(&robot(&format!("release-{part}"), &[&scope]));
    BTreeMap::from([("GITOPS_PAT".to_owned(), token)])
}

/// The Kubernetes user that a token stands for.
pub(crate) fn cluster_user(keyring: &Keyring, cluster: &str, token: &str) -> Option<User> {
    Some(user_of(&keyring.verify(token).ok()?, cluster))
}

/// The Kubernetes user that claims stand for.
pub(crate) fn user_of(claims: &Claims, cluster: &str) -> User {
    let mut groups = claims.groups.clone();
    if claims.allows(&format!("cluster:{cluster}:admin")) {
        groups.push("system:masters".to_owned());
    } else if !claims.is_robot() {
        groups.push(PEOPLE_GROUP.to_owned());
    }
    groups.push("system:authenticated".to_owned());
    User { name: claims.subject.clone(), uid: String::new(), groups }
}

/// What every person may read in every cluster, as RBAC objects: all but secrets, and what the platform's own kinds say.
pub(crate) fn reading() -> [Value; 3] {
    const RBAC: &str = "rbac.authorization.k8s.io";
    const OWN_KINDS: &str = "portolan:people-view-platform";
    let groups = [
        "source.toolkit.fluxcd.io",
        "kustomize.toolkit.fluxcd.io",
        "gitops.portolan.dev",
        "apiextensions.crossplane.io",
        "pkg.crossplane.io",
        "postgresql.cnpg.io",
        "platform.io",
        "apiextensions.k8s.io",
        "metrics.k8s.io",
    ];
    let verbs = ["get", "list", "watch"];
    let bind = |name: &str, role: &str| {
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": PEOPLE_GROUP}],
        })
    };
    let role = json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRole",
        "metadata": {"name": OWN_KINDS},
        "rules": [
            {"apiGroups": groups, "resources": ["*"], "verbs": verbs},
            {"apiGroups": [""], "resources": ["nodes", "namespaces", "persistentvolumes"], "verbs": verbs},
        ],
    });
    [role, bind("portolan:people-view", "view"), bind(OWN_KINDS, OWN_KINDS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_shows_the_same_people() {
        let files = crate::samples::files("org");
        let text = std::str::from_utf8(&files["catalog-info.yaml"]).unwrap();
        let entities = yaml::parse_documents(text, yaml::Resolver::Kyaml).unwrap();
        let shown: Vec<Value> = entities
            .iter()
            .filter(|entity| entity["kind"] == "User")
            .map(|user| {
                json!([user["metadata"]["name"], user["spec"]["profile"]["email"], user["spec"]["memberOf"]])
            })
            .collect();
        let ours: Vec<Value> =
            PEOPLE.iter().map(Person::claims).map(|c| json!([c.subject, c.email, c.groups])).collect();
        assert_eq!(shown, ours);
    }

    #[test]
    fn a_workflow_gets_a_token_for_its_own_deploy_repository_only() {
        let keyring = Keyring::from_bytes(&[1; 32]);
        let secrets = workflow_secrets(&keyring, "platform/dashboard-frontend");
        let claims = keyring.verify(&secrets["GITOPS_PAT"]).unwrap();
        assert!(claims.allows("repo:platform/dashboard-deploy:write"));
        assert!(!claims.allows("repo:platform/dashboard-backend:write"));
        assert!(!claims.allows("cluster:dev:admin"));
        assert!(workflow_secrets(&keyring, "platform/dashboard-deploy").is_empty());
    }
}
