//! Connections written by hand.

use super::effect::{Action, Effect};
use crate::client::Say;
use crate::mesh::{Mesh, Opening};
use crate::scenario::steps::Raw;

impl Action for Raw {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let (to, certificate) = (to.clone(), self.certificate.clone());
            mesh.open_raw(&self.conn, from, &Opening { to, deaf: self.deaf, certificate })?;
        }
        let bytes = written(self, |which| mesh.forward_id(which))?;
        let writes = !bytes.is_empty();
        if writes {
            mesh.say_raw(&self.conn, Say::Write(bytes, self.every.map(|time| time.0)))?;
        }
        if let Some(close) = self.close {
            mesh.say_raw(&self.conn, Say::Close(close))?;
        }
        let conn = self.conn.clone();
        let before = mesh.heard_raw(&conn).map_or(0, |heard| heard.written);
        Ok(Effect::Watch(Box::new(move |mesh| {
            mesh.heard_raw(&conn).is_some_and(|heard| {
                let stood = heard.open || heard.ended.is_some();
                if writes { heard.written > before } else { stood }
            })
        })))
    }
}

/// All that is to be written; `forward_id` has the ids that stand for themselves.
///
/// # Errors
/// There is no such id.
pub fn written(
    raw: &Raw,
    forward_id: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<u8>, String> {
    let repeat = raw.repeat.unwrap_or(1);
    if !raw.hex.is_empty() {
        return Ok(raw.hex_bytes().unwrap_or_default().repeat(repeat as usize));
    }
    let text = fill_in(&raw.send, forward_id)?;
    Ok((1..=repeat).map(|n| text.replace("{n}", &n.to_string())).collect::<String>().into())
}

/// Puts ids into their places.
fn fill_in(
    text: &str,
    forward_id: impl Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{forward:") {
        let (which, after) = after.split_once('}').ok_or("a `{forward:` is never closed")?;
        out.push_str(before);
        out.push_str(&forward_id(which)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
