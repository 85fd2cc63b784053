//! Datagrams within a stream.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(datagrams);
