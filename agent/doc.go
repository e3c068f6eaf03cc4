// Package agent is Collie on one machine: its configuration, the wiring of source, conductor and layers, the sockets on which
// it answers, and what people ask of it outside of a rollout, as a check of the machine's health.
package agent
