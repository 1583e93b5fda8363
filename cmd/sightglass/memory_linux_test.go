// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestControlGroupBound(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"no control groups": {nil, math.MaxUint64},
		"no bound":          {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, math.MaxUint64},
		"own": {map[string]string{"proc/self/cgroup": "1:cpu:/x\n0::/system.slice/sightglass.service\n",
			"sys/fs/cgroup/system.slice/sightglass.service/memory.max": "67108864\n", "sys/fs/cgroup/system.slice/memory.max": "max\n"}, 64 << 20},
		"above":        {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "2048\n", "sys/fs/cgroup/a/memory.max": "1024\n"}, 1024},
		"a container":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4096\n"}, 4096},
		"another root": {map[string]string{"proc/self/cgroup": "0::/../../etc\n", "sys/fs/cgroup/memory.max": "4096\n"}, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{}
			for path, text := range test.files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := controlGroupBound(root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
