package main

import (
	"github.com/spf13/cobra"

	"example.org/collie/agent"
	"example.org/collie/agent/api"
)

func keyCmd(c *cli) *cobra.Command {
	var config string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show the machine's public key, for encrypting Secrets",
		Long: "Show the machine's public key, a line for secrets/recipients. The command asks the agent. If none runs, root can read the\n" +
			"key, or make it before the agent's first run. The private key never leaves the machine.",
		Example: "  collie key\n  collie key --json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := c.agent.Key(cmd.Context())
			if api.Away(err) {
				key.PublicKey, err = agent.MachineKey(config)
			}
			if err != nil {
				return err
			}
			return c.show(key, key.Text(), asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration, for when no agent runs")
	return cmd
}

// deliverCmd is what Shepherd runs at boot, for services that need their secrets before the agent is up.
func deliverCmd() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:    "deliver",
		Hidden: true,
		Args:   takes(0, 0),
		RunE:   func(cmd *cobra.Command, _ []string) error { return agent.Deliver(cmd.Context(), config) },
	}
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration")
	return cmd
}
