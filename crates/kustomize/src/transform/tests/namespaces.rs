//! Namespaces.

use super::*;
use crate::transform::namespace::NamespaceTransformer;

const CONFIG: &str = "metadata: {namespace: n}, fieldSpecs: [{path: metadata/name, kind: Namespace, create: true}, \
                      {path: 'spec/service/namespace', kind: APIService, create: true}]";
const BINDING: &str = "apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding";

#[test]
fn objects_get_the_namespace_if_they_have_one() {
    check::<NamespaceTransformer>(
        &format!("{{{CONFIG}}}"),
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: 5}}\n---\n{apiVersion: x/v1, kind: Own}\n---\n\
         {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n{apiVersion: x/v1, kind: Namespace, metadata: {name: a}}\n---\n\
         {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}}",
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: \"n\"}}\n---\n\
         {apiVersion: x/v1, kind: Own, metadata: {namespace: \"n\"}}\n---\n\
         {apiVersion: v1, kind: Namespace, metadata: {name: \"n\"}}\n---\n\
         {apiVersion: x/v1, kind: Namespace, metadata: {name: a, namespace: \"n\"}}\n---\n\
         {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a}, spec: {service: {namespace: \"n\"}}}",
    );
}

#[test]
fn only_unset_namespaces() {
    check::<NamespaceTransformer>(
        &format!("{{{CONFIG}, unsetOnly: true}}"),
        "{kind: A, metadata: {namespace: a}}\n---\n{kind: B, metadata: {namespace: \"\"}}\n---\n{kind: C}\n---\n\
         {apiVersion: v1, kind: Namespace, metadata: {name: a}}",
        "{kind: A, metadata: {namespace: a}}\n---\n{kind: B, metadata: {namespace: \"n\"}}\n---\n\
         {kind: C, metadata: {namespace: \"n\"}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
    );
}

#[test]
fn subjects_of_role_bindings() {
    let binding =
        |subjects: &str| format!("{{{BINDING}, metadata: {{namespace: \"n\"}}, subjects: {subjects}}}");
    let subjects =
        "[{name: default, namespace: o}, {kind: ServiceAccount, name: x}, {kind: User, name: default}, ~]";
    let checked = |mode: &str, expected: &str| {
        let config = format!("{{{CONFIG}, setRoleBindingSubjects: {mode}}}");
        check::<NamespaceTransformer>(&config, &binding(subjects), &binding(expected));
    };
    let named = "[{name: default, namespace: \"n\"}, {kind: ServiceAccount, name: x}, \
                 {kind: User, name: default, namespace: \"n\"}, ~]";
    checked("''", named);
    checked("defaultOnly", named);
    checked("none", subjects);
    checked(
        "allServiceAccounts",
        "[{name: default, namespace: o}, {kind: ServiceAccount, name: x, namespace: \"n\"}, {kind: User, name: default}, ~]",
    );
    fails::<NamespaceTransformer>(
        &format!("{{{CONFIG}, setRoleBindingSubjects: some}}"),
        "{kind: A}",
        &["invalid value \"some\" for setRoleBindingSubjects"],
    );
}

#[test]
fn objects_that_become_one_are_a_conflict() {
    fails::<NamespaceTransformer>(
        &format!("{{{CONFIG}}}"),
        "{apiVersion: v1, kind: A, metadata: {name: a, namespace: x}}\n---\n{apiVersion: v1, kind: A, metadata: {name: a, namespace: y}}",
        &["namespace transformation produces ID conflict: [A.v1.[noGrp]/a.n A.v1.[noGrp]/a.n]"],
    );
}

#[test]
fn specs_have_to_name_scalars() {
    fails::<NamespaceTransformer>(
        "{metadata: {namespace: n}, fieldSpecs: [{path: spec}]}",
        "{kind: A, spec: {a: b}}",
        &["namespace field specs must target scalar nodes", "considering field 'spec'"],
    );
}
