//! The scenario file.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(scenario);
