//! Lines of the wire protocol.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(wire);
