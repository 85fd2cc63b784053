//! Who is told that a provider has withdrawn a name: the stretches of requests that it
//! carries, so that a client's next request is routed afresh and the provider can end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Release;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::routes::Provider;
use crate::names::Name;

/// Whether a provider has withdrawn a name; never taken back.
#[derive(Debug, Default)]
pub struct Notice {
    given: AtomicBool,
    waiting: Notify,
}

/// The notices that somebody may wait for.
#[derive(Debug, Default)]
pub struct Notices(BTreeMap<Provider, BTreeMap<Name, Arc<Notice>>>);

impl Notice {
    /// Set once the notice is given.
    pub fn given(&self) -> &AtomicBool {
        &self.given
    }

    /// Returns once the notice is given after this was called. Boxed: every stretch that
    /// stands idle holds one, and would hold it several times over.
    pub fn heard(&self) -> Pin<Box<Notified<'_>>> {
        Box::pin(self.waiting.notified())
    }

    /// Gives it.
    pub fn give(&self) {
        self.given.store(true, Release);
        self.waiting.notify_waiters();
    }
}

impl Notices {
    /// The notice by which `provider` withdraws `name`.
    pub fn of(&mut self, provider: Provider, name: &Name) -> Arc<Notice> {
        let of_provider = self.0.entry(provider).or_default();
        match of_provider.get(name) {
            Some(notice) => notice.clone(),
            None => of_provider.entry(name.clone()).or_default().clone(),
        }
    }

    /// `provider` has withdrawn these names.
    pub fn give<'a>(&mut self, provider: Provider, names: impl IntoIterator<Item = &'a Name>) {
        let Some(of_provider) = self.0.get_mut(&provider) else { return };
        for name in names {
            if let Some(notice) = of_provider.remove(name) {
                notice.give();
            }
        }
        if of_provider.is_empty() {
            self.0.remove(&provider);
        }
    }

    /// `provider` is gone, and has withdrawn nothing: what it carries may go on.
    pub fn forget(&mut self, provider: Provider) {
        self.0.remove(&provider);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Acquire;

    use super::*;
    use crate::mesh::routes::LinkId;

    const PROVIDER: Provider = Provider::Link(LinkId(1));

    #[tokio::test]
    async fn whoever_asked_before_is_told_of_its_name_only() {
        let [one, other] = ["a.example", "b.example"].map(|name| name.parse::<Name>().unwrap());
        let mut notices = Notices::default();
        let (of_one, of_other) = (notices.of(PROVIDER, &one), notices.of(PROVIDER, &other));
        let heard = of_one.heard();
        notices.give(PROVIDER, [&one]);
        heard.await;
        assert!(of_one.given().load(Acquire));
        assert!(!of_other.given().load(Acquire));
        // It may come back, and is another matter then.
        assert!(!notices.of(PROVIDER, &one).given().load(Acquire));
    }

    #[test]
    fn a_provider_that_is_gone_gives_no_notice() {
        let name: Name = "a.example".parse().unwrap();
        let mut notices = Notices::default();
        let notice = notices.of(PROVIDER, &name);
        notices.forget(PROVIDER);
        notices.give(PROVIDER, [&name]);
        assert!(!notice.given().load(Acquire));
        assert!(notices.0.is_empty());
    }
}
