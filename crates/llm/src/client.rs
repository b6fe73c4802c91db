//! The client's side of Chat Completions for the built-in agent.
