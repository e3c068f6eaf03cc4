package api

import "encoding/json"

// Answers of older agents, and older files, are translated to today's words. While a commit that brings both is switched to, the
// command is newer than the agent; and journal and state are kept on disk.

// The former words for the phase of a roll-back, and for a plan that was rejected.
const (
	formerRollingBack = "returning"
	formerRejected    = "bad"
)

// UnmarshalJSON also reads passing and apart.
func (p *Problem) UnmarshalJSON(text []byte) error {
	type plain Problem
	read := struct {
		*plain
		Passing bool `json:"passing"`
		Apart   bool `json:"apart"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	p.Transient, p.Unrelated = p.Transient || read.Passing, p.Unrelated || read.Apart
	return nil
}

// UnmarshalJSON also reads bad, and the phase returning.
func (s *Status) UnmarshalJSON(text []byte) error {
	type plain Status
	read := struct {
		*plain
		Bad []struct {
			Failed
			RolledBack bool `json:"rolledBack"`
		} `json:"bad"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	for _, b := range read.Bad {
		b.Outcome = OutcomeRejected
		if b.RolledBack {
			b.Outcome = OutcomeRolledBack
		}
		s.Failed = append(s.Failed, b.Failed)
	}
	if s.Phase == formerRollingBack {
		s.Phase = PhaseRollingBack
	}
	return nil
}

// UnmarshalJSON also reads bad.
func (p *Plan) UnmarshalJSON(text []byte) error {
	type plain Plan
	read := struct {
		*plain
		Bad string `json:"bad"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	if p.Rejected == "" {
		p.Rejected = read.Bad
	}
	for i := range p.Plans {
		if p.Plans[i].State == formerRejected {
			p.Plans[i].State = PlanRejected
		}
	}
	return nil
}

// UnmarshalJSON also reads the outcomes bad and returned.
func (d *Deployment) UnmarshalJSON(text []byte) error {
	type plain Deployment
	if err := json.Unmarshal(text, (*plain)(d)); err != nil {
		return err
	}
	switch d.Outcome {
	case "bad":
		d.Outcome = OutcomeRejected
	case "returned":
		d.Outcome = OutcomeRolledBack
	}
	return nil
}
