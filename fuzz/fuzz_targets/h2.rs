//! Requests of one connection of HTTP/2, against what hyper reads in them.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(h2);
