//! Scenarios, in simulation and on the real binary. The real ones wait most of the time, and the
//! others do not wait at all.

mod real;
mod simulated;
