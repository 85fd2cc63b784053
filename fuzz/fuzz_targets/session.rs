//! Sessions of several peers, against a model.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(session);
