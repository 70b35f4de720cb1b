// The reference as a library, for the bench beside it: kustomizations of one tree, one after the other in one process.
//
//	reference memory|disk ROOT < directories, one a line, relative to ROOT
//
// It prints the nanoseconds that all builds took (reading the tree into memory not counted), how many bytes they gave
// and a hash of these.
package main

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: reference memory|disk ROOT")
	}
	root := os.Args[2]
	files := filesys.MakeFsOnDisk()
	if os.Args[1] == "memory" {
		files = inMemory(root)
	}
	var dirs []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		dirs = append(dirs, filepath.Join(root, lines.Text()))
	}
	hash, bytes := fnv.New64a(), 0
	start := time.Now()
	for _, dir := range dirs {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, dir)
		if err != nil {
			log.Fatal(err)
		}
		text, err := built.AsYaml()
		if err != nil {
			log.Fatal(err)
		}
		bytes += len(text)
		hash.Write(text)
	}
	fmt.Println(time.Since(start).Nanoseconds(), bytes, hash.Sum64())
}

// inMemory copies a tree of files from the disk.
func inMemory(root string) filesys.FileSystem {
	files := filesys.MakeFsInMemory()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return files.WriteFile(path, content)
	})
	if err != nil {
		log.Fatal(err)
	}
	return files
}
