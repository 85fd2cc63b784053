//! Requests of one connection, against what hyper reads in them.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(http);
