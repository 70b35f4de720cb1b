//! `IAMPolicyGenerator`: the ServiceAccount that a cloud's workload identity asks for.

use serde::Deserialize;

use crate::Error;
use crate::node::Node;
use crate::plugin::{Context, Generate};
use crate::resource::Resource;

/// A Kubernetes service account that stands for one of a cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct IamPolicyGenerator {
    /// Only `gke`.
    pub(crate) cloud: String,
    pub(crate) kubernetes_service: KubernetesService,
    pub(crate) service_account: ServiceAccount,
}

/// The service account in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct KubernetesService {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// The service account in the cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceAccount {
    pub(crate) name: String,
    pub(crate) project_id: String,
}

impl Generate for IamPolicyGenerator {
    fn generate(&self, context: &Context<'_, '_>) -> Result<Vec<Resource>, Error> {
        if self.cloud != "gke" {
            return Err(context.invalid(format!("cloud provider {} not supported yet", self.cloud)));
        }
        let account = &self.service_account;
        let email = format!("{}@{}.iam.gserviceaccount.com", account.name, account.project_id);
        let mut object = Node::string_map([("apiVersion", "v1"), ("kind", "ServiceAccount")]);
        let metadata = object.map_at("metadata");
        metadata.set("annotations", Node::string_map([("iam.gke.io/gcp-service-account", email.as_str())]));
        metadata.set("name", Node::implicit(self.kubernetes_service.name.as_str()));
        if !self.kubernetes_service.namespace.is_empty() {
            metadata.set("namespace", Node::implicit(self.kubernetes_service.namespace.as_str()));
        }
        Ok(vec![Resource::new(object)])
    }
}
