//! What follows from a configuration: found once, as most kustomizations of most builds have the same one.

use std::sync::OnceLock;

use super::Config;
use crate::fieldspec::{FieldSpec, Specs, merge_specs};
use crate::file::Label;
use crate::references::names::Rules;

/// Answers that were given before. Equality is that of the configuration itself.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    /// Where labels without fields of their own go, by the three flags of an entry.
    labels: [OnceLock<Result<Specs, String>>; 8],
    rules: OnceLock<Rules>,
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Derived {}

impl Config {
    /// Where the labels of an entry go.
    pub(crate) fn label_specs(&self, label: &Label) -> Result<Specs, String> {
        let flags = [label.include_selectors, label.include_templates, label.include_volume_claim_templates];
        let index = flags.iter().fold(0, |index, flag| index * 2 + usize::from(*flag));
        match self.derived.labels.get(index).filter(|_| label.fields.is_empty()) {
            Some(known) => known.get_or_init(|| self.merged_label_specs(label)).clone(),
            None => self.merged_label_specs(label),
        }
    }

    fn merged_label_specs(&self, label: &Label) -> Result<Specs, String> {
        let mut specs: Specs = label.fields.clone();
        merge_specs(&mut specs, &self.labels)?;
        if label.include_selectors {
            merge_specs(&mut specs, &self.common_labels)?;
            return Ok(specs);
        }
        if label.include_templates {
            merge_specs(&mut specs, &self.template_labels)?;
        }
        if label.include_volume_claim_templates {
            merge_specs(&mut specs, &self.volume_claim_template_labels)?;
        }
        merge_specs(&mut specs, &[FieldSpec::new("", "", "", "metadata/labels", true)])?;
        Ok(specs)
    }

    /// Which fields hold names.
    pub(crate) fn rules(&self) -> &Rules {
        self.derived.rules.get_or_init(|| Rules::new(self))
    }
}
