//! Names, tags and digests of images.

use super::*;
use crate::transform::images::ImageTagTransformer;

#[test]
fn images_are_found_wherever_containers_are() {
    check::<ImageTagTransformer>(
        "{imageTag: {name: a, newTag: '2'}, fieldSpecs: [{path: 'spec/x[]/image', create: true}, {path: spec/image}]}",
        "{kind: A, any: [{containers: [{image: \"a:1\"}, {image: b}, {}, ~]}], spec: {initContainers: [{image: a}], image: a}}\n---\n\
         {kind: CustomResourceDefinition, spec: {containers: [{image: a}]}}\n---\n{kind: B, spec: {x: ~}}",
        "{kind: A, any: [{containers: [{image: a:2}, {image: b}, {}, ~]}], spec: {initContainers: [{image: a:2}], image: a:2}}\n---\n\
         {kind: CustomResourceDefinition, spec: {containers: [{image: a}]}}\n---\n{kind: B, spec: {x: []}}",
    );
}

#[test]
fn a_suffix_is_added_once_for_each_way_to_the_field() {
    check::<ImageTagTransformer>(
        "{imageTag: {name: a, tagSuffix: -x}, fieldSpecs: [{path: 'spec/containers[]/image'}]}",
        "{kind: A, spec: {containers: [{image: a:1}]}}",
        "{kind: A, spec: {containers: [{image: a:1-x-x}]}}",
    );
}

#[test]
fn images_have_to_be_texts() {
    fails::<ImageTagTransformer>(
        "{imageTag: {name: a, newTag: '2'}}",
        "{kind: A, spec: {containers: [{image: {a: b}}]}}",
        &["expected ScalarNode but got MappingNode"],
    );
    fails::<ImageTagTransformer>(
        "{imageTag: {name: a, newTag: '2'}}",
        "{kind: A, spec: {containers: [text]}}",
        &["expected MappingNode but got ScalarNode"],
    );
}
