//! The file of accepted tokens.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(tokens);
