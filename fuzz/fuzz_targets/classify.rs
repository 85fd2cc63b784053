//! First bytes of a public connection.
#![cfg_attr(fuzzing, no_main)]
ops_proxy_fuzz::target!(classify);
