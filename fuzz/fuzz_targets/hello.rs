//! ClientHellos, against what rustls reads in them.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(hello);
