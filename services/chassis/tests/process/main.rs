//! Each behaviour of the chassis, on a real tonic server on a free port.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod life;
#[cfg(test)]
mod logs;
