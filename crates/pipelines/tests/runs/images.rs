//! From a Dockerfile to an image in the registry.

use serde_json::Value;

use crate::fixture::started;

const RELEASE: &str = "
name: release
on: push
permissions: { contents: read, packages: write }
jobs:
  image:
    runs-on: x
    steps:
      - uses: actions/checkout@v4
      - id: version
        run: |
          echo \"tag=sha-$(git rev-parse --short=7 HEAD)\" >> \"$GITHUB_OUTPUT\"
          echo \"IMAGE=$REGISTRY_ADDRESS/platform/app\" >> \"$GITHUB_ENV\"
      - uses: docker/setup-buildx-action@v3
      - uses: docker/login-action@v3
        with:
          registry: ${{ env.REGISTRY_ADDRESS }}
          username: ${{ github.actor }}
          password: ${{ secrets.GITHUB_TOKEN }}
      - id: meta
        uses: docker/metadata-action@v5
        with: { images: '${{ env.IMAGE }}', tags: 'type=ref,event=branch' }
      - id: build
        uses: docker/build-push-action@v6
        with:
          context: .
          push: true
          tags: |
            ${{ env.IMAGE }}:${{ steps.version.outputs.tag }}
            ${{ steps.meta.outputs.tags }}
          build-args: NAME=value
          cache-from: type=gha
      - run: test -n '${{ steps.build.outputs.digest }}'
";

#[tokio::test]
async fn an_image_is_built_and_pushed_under_its_tags() {
    let world = started().await;
    let dockerfile = "FROM scratch\nARG NAME\nCOPY file.txt /app/\nCMD [\"/app/run\"]\n";
    let files = [(".github/workflows/release.yaml", RELEASE), ("Dockerfile", dockerfile), ("file.txt", "x")];
    let sha = world.push("app", "first", &files).await;
    let run = world.completed(&sha).await;
    assert_eq!(run["status"]["conclusion"], "success", "{}\n{run:#}", world.log(&run, "image").await);
    let token = world.token("x", &["registry:platform/app:pull"]);
    let mut digests = Vec::new();
    for tag in [format!("sha-{}", &sha[..7]), "main".to_owned()] {
        let url = format!("{}/v2/platform/app/manifests/{tag}", world.url());
        let request = world.client.get(url).bearer_auth(&token);
        let request = request.header("accept", "application/vnd.oci.image.manifest.v1+json");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{tag}");
        digests.push(response.headers()["docker-content-digest"].to_str().unwrap().to_owned());
        assert_eq!(response.json::<Value>().await.unwrap()["layers"].as_array().unwrap().len(), 1);
    }
    assert_eq!(digests[0], digests[1]);
}
