package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/collie/agent/mistake"
)

// What is wrong with a call is said in words of our own, in one line.

// many is for commands that take any number of arguments.
const many = -1

// takes checks that a command has at least so many arguments, and at most so many.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		switch {
		case n >= least && (n <= most || most == many):
			return nil
		case cmd.HasSubCommands():
			return noCommand(cmd, args[0])
		}
		name, says := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), "takes no arguments"
		_, words, _ := strings.Cut(cmd.Use, " ")
		switch {
		case most == many:
			says = "needs an argument"
		case least == 1 && most == 1:
			says = "takes one argument, " + words
		case most == 1:
			says = "takes at most one argument, " + words
		}
		if n > 0 {
			says += fmt.Sprintf(", not %q", args)
		}
		return wrongUsage(cmd, "%s %s", name, says)
	}
}

// wrongUsage says what is wrong with a call, and where the right one is shown.
func wrongUsage(cmd *cobra.Command, format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("%s; see `%s --help`", fmt.Sprintf(format, args...), cmd.CommandPath())}
}

// noCommand says that cmd has no command of that name, and which was probably meant.
func noCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return wrongUsage(cmd, "there is no command %q%s", strings.TrimPrefix(cmd.CommandPath()+" "+name, cmd.Root().Name()+" "), meant(name, names))
}

// meant is a guess at what a wrong word should be.
func meant(word string, words []string) string {
	if _, hint := mistake.Guess(word, words); hint != "" {
		return ": " + strings.TrimSuffix(hint, "?")
	}
	return ""
}

// wrongOption says in our words what pflag found wrong with an option.
func wrongOption(cmd *cobra.Command, err error) error {
	unknown, empty, wrong := new(pflag.NotExistError), new(pflag.ValueRequiredError), new(pflag.InvalidValueError)
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return wrongUsage(cmd, "there is no option -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		name := "--" + unknown.GetSpecifiedName()
		return wrongUsage(cmd, "there is no option %s%s", name, meant(name, names))
	case errors.As(err, &empty):
		return wrongUsage(cmd, "--%s needs a value", empty.GetFlag().Name)
	case errors.As(err, &wrong):
		says := map[string]string{"duration": "a time, such as 30s, 5m or 1h", "bool": "true or false", "int": "a number"}[wrong.GetFlag().Value.Type()]
		if says == "" {
			return wrongUsage(cmd, "--%s %s: %v", wrong.GetFlag().Name, wrong.GetValue(), wrong.Unwrap())
		}
		return wrongUsage(cmd, "--%s %s: write %s", wrong.GetFlag().Name, wrong.GetValue(), says)
	}
	return wrongUsage(cmd, "%v", err)
}

// adopt gives the commands that cobra adds, help and completion, our words for a wrong call.
func adopt(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			help := cmd.Run
			cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return noCommand(found, append(rest, args...)[0])
				}
				help(cmd, args)
				return nil
			}
		case "completion":
			cmd.Args, cmd.RunE = takes(0, 0), func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = takes(0, 0)
			}
		}
	}
}
