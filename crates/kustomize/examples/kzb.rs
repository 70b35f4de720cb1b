use std::path::Path;
fn files(root: &Path, dir: &Path, tree: &mut kustomize::MemoryTree) {
    for e in std::fs::read_dir(dir).unwrap().flatten() {
        let p = e.path();
        if p.is_symlink() {
            tree.link(
                p.strip_prefix(root).unwrap().to_str().unwrap(),
                std::fs::read_link(&p).unwrap().to_str().unwrap(),
            );
            continue;
        }
        if p.is_dir() {
            files(root, &p, tree)
        } else {
            tree.insert(p.strip_prefix(root).unwrap().to_str().unwrap(), std::fs::read(&p).unwrap())
        }
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut t = kustomize::MemoryTree::default();
    files(Path::new(&a[1]), Path::new(&a[1]), &mut t);
    let o = kustomize::Options { order: kustomize::Order::Legacy, ..Default::default() };
    match kustomize::build(&t, &a[2], o) {
        Ok(b) => {
            print!("{}", b.to_yaml().unwrap());
            for w in b.warnings {
                eprintln!("{w}");
            }
        }
        Err(e) => {
            eprintln!("Error: {e}");
            std::process::exit(1)
        }
    }
}
