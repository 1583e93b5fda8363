// SPDX-License-Identifier: Apache-2.0

package relay

import "github.com/sightglass/sightglass/relay/sock"

// priority is that of the thread that a loop is on, while it carries bytes. No other has it: one that collects garbage would
// take a processor from the peers for milliseconds, and nobody waits for it. Nor has the loop with its chore, where others want the
// processor.
type priority struct {
	raised, usual int // nice values (setpriority(2)); alike: there is nothing to raise
	thread        int // that is raised; 0: none
}

// raise gives it to the thread that the loop is on, if no other has it.
func (p *priority) raise() {
	if p.thread != 0 || p.raised == p.usual {
		return
	}
	thread := sock.Thread()
	if sock.SetNice(thread, p.raised) != nil {
		p.raised = p.usual // it may not, and would not later
		return
	}
	p.thread = thread
}

// lower takes it back, wherever the loop is.
func (p *priority) lower() {
	if p.thread != 0 {
		_ = sock.SetNice(p.thread, p.usual)
		p.thread = 0
	}
}

// follow raises the thread that the loop is on, and lowers the one that Go's scheduler had it on before.
func (p *priority) follow() {
	if p.thread != 0 && p.thread != sock.Thread() {
		p.lower()
	}
	p.raise()
}
