//! Who is online, under which key and by which label (§15, decisions §4 and §5).

use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::{
    Check, ContentCover, Succession, Verified, proven_rotations, rotation_check, succession, tells_more,
};
use crate::wire::{DirectoryEntry, KeyId, Meta, MetaField, PublicKey, ServerId, Timestamp, UserId};

use super::api::KnownUser;
use super::label::{escape_label, quote_label};
use super::limits::Limits;
use super::records::UserPin;

/// Fewest characters of an id in a label.
const MIN_SUFFIX_CHARS: usize = 4;

/// Between name and id in a label. A name that holds it never stands alone: it could be a copy of
/// somebody's label.
const SUFFIX_MARK: char = '~';

/// Names that mean something else where users are named: everybody.
const RESERVED: [&str; 3] = ["public", "all", "*"];

/// Whether a name means everybody, so that nobody is called so alone.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// The users online, and the pins of all users ever met.
#[derive(Debug)]
pub(super) struct Directory {
    own: UserId,
    own_name: Option<Box<str>>,
    users: BTreeMap<UserId, User>,
    pins: BTreeMap<UserId, UserPin>,
    /// Everybody online and ourselves, by the name as a screen shows it.
    names: BTreeMap<Box<str>, BTreeSet<UserId>>,
    /// Those whose id does not look on a screen as it is, by what it looks like.
    odd_ids: BTreeMap<Box<str>, BTreeSet<UserId>>,
    /// All whom we ever met, by the name that they had last.
    met: BTreeMap<Box<str>, BTreeSet<UserId>>,
    /// Those of `met` whose keys were compared in person, or follow from such: their names are nobody else's, whether
    /// they are online or not.
    trusted: BTreeMap<Box<str>, BTreeSet<UserId>>,
    /// Bytes of [`User::meta`], of all users together.
    meta_bytes: usize,
    /// Counts sessions: who was not confirmed in this one is missing.
    session: u64,
    limits: Limits,
}

#[derive(Debug)]
struct User {
    name: Option<Box<str>>,
    /// What the user tells beside the name (§15.1).
    meta: Option<Meta>,
    server_id: Option<ServerId>,
    online_local: bool,
    /// What the user's client wants signed of a direct message.
    cover: ContentCover,
    confirmed: u64,
    /// The conflicting key that people were told of.
    conflict: Option<KeyId>,
}

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Pinned(UserPin),
    Added(UserId),
    Renamed {
        user_id: UserId,
        /// The label before.
        was: Box<str>,
    },
    KeyChanged {
        user_id: UserId,
        was: KeyId,
        now: KeyId,
        /// Whether the key before was verified.
        was_verified: bool,
        /// Whether the key before signed for the new one.
        signed: bool,
    },
    KeyConflict {
        user_id: UserId,
        pinned: KeyId,
        seen: KeyId,
    },
    /// Nobody can write to a user without a key.
    NoKey(UserId),
    Full,
}

/// Why a name finds nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    Unknown,
    /// The labels of those who could be meant.
    Ambiguous(Vec<Box<str>>),
}

impl Directory {
    pub(super) fn new(own: UserId, meta: &Meta, pins: Vec<UserPin>, limits: &Limits) -> Self {
        let own_name = shown_name(Some(meta));
        let mut directory = Self {
            own: own.clone(),
            own_name: own_name.clone(),
            users: BTreeMap::new(),
            pins: BTreeMap::new(),
            names: BTreeMap::new(),
            odd_ids: BTreeMap::new(),
            met: BTreeMap::new(),
            trusted: BTreeMap::new(),
            meta_bytes: 0,
            session: 0,
            limits: limits.clone(),
        };
        directory.index(&own, own_name.as_deref());
        for pin in pins.into_iter().take(limits.pinned_users) {
            directory.pin(pin);
        }
        directory
    }

    /// A new session begins: until they are confirmed, all users are missing.
    pub(super) fn begin_session(&mut self) {
        self.session += 1;
    }

    /// Our id from now on.
    pub(super) fn set_own_id(&mut self, id: &UserId) {
        let (before, name) = (std::mem::replace(&mut self.own, id.clone()), self.own_name.clone());
        self.unindex(&before, name.as_deref());
        self.index(id, name.as_deref());
    }

    /// What others call us from now on.
    pub(super) fn set_own_name(&mut self, meta: &Meta) {
        let (own, before) = (self.own.clone(), self.own_name.take());
        self.unindex(&own, before.as_deref());
        self.own_name = shown_name(Some(meta));
        let name = self.own_name.clone();
        self.index(&own, name.as_deref());
    }

    /// A user is online, says the server, in a frame that may prove how the key follows from the first one. A key
    /// that is pinned now is so since `at`.
    pub(super) fn confirm(&mut self, frame: &Verified, entry: &DirectoryEntry, at: Timestamp) -> Vec<Change> {
        let id = &entry.user_id;
        if *id == self.own {
            return Vec::new();
        }
        let known = self.users.contains_key(id);
        if !known && self.users.len() >= self.limits.users {
            return vec![Change::Full];
        }
        let mut changes = Vec::new();
        let mut pinned = false;
        let seen = entry.pubkey.as_ref().and_then(|field| field.key().ok());
        let rotations = seen.map_or(&[][..], |key| proven_rotations(frame, id, &entry.rotations, key));
        let conflict = match (self.pins.get(id), seen) {
            (None, None) => return vec![Change::NoKey(id.clone())],
            (None, Some(_)) if self.pins.len() >= self.limits.pinned_users => return vec![Change::Full],
            (None, Some(seen)) => {
                let new = UserPin { rotations: rotations.to_vec(), ..UserPin::new(id, seen, at) };
                self.pin(new);
                pinned = true;
                None
            }
            (Some(_), None) => None,
            (Some(pin), Some(seen)) if pin.key == *seen => {
                if tells_more(id, seen, &pin.rotations, rotations) {
                    let told = UserPin { rotations: rotations.to_vec(), ..pin.clone() };
                    self.pin(told);
                    pinned = true;
                }
                None
            }
            (Some(pin), Some(seen)) => {
                let (was, now) = (pin.key.id(), seen.id());
                let signed = match succession(id, (&pin.key, &pin.rotations), (seen, rotations)) {
                    Succession::Signed => Some(true),
                    Succession::Rightful => Some(false),
                    // What the key that we know did not sign is nobody's that we know, whatever servers think.
                    Succession::Longer | Succession::Superseded | Succession::Stranger => None,
                };
                match signed {
                    Some(signed) => {
                        let was_verified = pin.verified.is_some();
                        let vouched = signed && (was_verified || pin.vouched);
                        let rotations = rotations.to_vec();
                        // Another key is nobody's that was verified.
                        let name = pin.name.clone();
                        let new = UserPin { rotations, vouched, name, ..UserPin::new(id, seen, at) };
                        self.pin(new);
                        pinned = true;
                        let user_id = id.clone();
                        changes.push(Change::KeyChanged { user_id, was, now, was_verified, signed });
                        None
                    }
                    None => Some((was, now)),
                }
            }
        };
        let label = known.then(|| self.label(id));
        let before = self.take(id);
        let (name, meta) = match (&entry.meta, &before) {
            // LIST_RESPONSE of some servers has no `meta`; it does not take a name away.
            (None, Some(before)) => (before.name.clone(), before.meta.clone()),
            (meta, _) => (shown_name(meta.as_ref()), self.affordable(meta.as_ref())),
        };
        // An id that means everybody gets a tail, as names do.
        let name = name.or_else(|| is_reserved(id.as_str()).then(|| id.as_str().into()));
        self.index(id, name.as_deref());
        // Who comes with another key than the pinned one gives the user no name.
        if name.is_some() && conflict.is_none() {
            pinned |= self.call(id, name.as_deref());
        }
        if let Some(pin) = self.pins.get(id).filter(|_| pinned) {
            changes.insert(0, Change::Pinned(pin.clone()));
        }
        let told = before.as_ref().and_then(|before| before.conflict);
        if let Some((pinned, seen)) = conflict.filter(|(_, seen)| told != Some(*seen)) {
            changes.push(Change::KeyConflict { user_id: id.clone(), pinned, seen });
        }
        match (&before, label) {
            (Some(before), Some(was)) if before.name != name => {
                changes.push(Change::Renamed { user_id: id.clone(), was });
            }
            (Some(_), _) => {}
            (None, _) => changes.push(Change::Added(id.clone())),
        }
        self.meta_bytes += meta.as_ref().map_or(0, |meta| meta.as_str().len());
        let user = User {
            name,
            meta,
            server_id: entry.server_id.clone().or_else(|| before.and_then(|before| before.server_id)),
            online_local: entry.online_local.unwrap_or(false),
            cover: entry.content_form.as_deref().and_then(ContentCover::parse).unwrap_or_default(),
            confirmed: self.session,
            conflict: conflict.map(|(_, seen)| seen).or(told),
        };
        self.users.insert(id.clone(), user);
        changes
    }

    /// The only place where a pin changes: the indexes change with it.
    fn pin(&mut self, pin: UserPin) {
        let id = pin.user_id.clone();
        if let Some(UserPin { name: Some(before), .. }) = self.pins.get(&id) {
            forget(&mut self.met, before, &id);
            forget(&mut self.trusted, before, &id);
        }
        if let Some(name) = &pin.name {
            self.met.entry(name.clone()).or_default().insert(id.clone());
            if pin.is_trusted() {
                self.trusted.entry(name.clone()).or_default().insert(id.clone());
            }
        }
        self.pins.insert(id, pin);
    }

    /// A user whom we know is called so. Whether that is news.
    fn call(&mut self, id: &UserId, name: Option<&str>) -> bool {
        let Some(pin) = self.pins.get(id).filter(|pin| pin.name.as_deref() != name) else { return false };
        let called = UserPin { name: name.map(Into::into), ..pin.clone() };
        self.pin(called);
        true
    }

    /// What a user tells beside the name, if there is something and room for it.
    fn affordable(&self, meta: Option<&Meta>) -> Option<Meta> {
        let meta = meta.filter(|meta| meta.as_str().len() <= self.limits.meta_bytes)?;
        let tells = MetaField::ALL.into_iter().skip(1).any(|field| meta.field(field).is_some());
        let room = self.limits.metas_bytes.saturating_sub(self.meta_bytes);
        (tells && meta.as_str().len() <= room).then(|| meta.clone())
    }

    /// What a user who is online tells beside the name.
    pub(super) fn meta(&self, id: &UserId) -> Option<&Meta> {
        self.users.get(id)?.meta.as_ref()
    }

    /// Marks a pinned key as compared in person, or takes the mark away.
    pub(super) fn verify(&mut self, id: &UserId, verified: Option<Timestamp>) -> Option<UserPin> {
        let marked = UserPin { verified, ..self.pins.get(id)?.clone() };
        self.pin(marked.clone());
        Some(marked)
    }

    /// What is kept of a user's key, online or not.
    pub(super) fn pinned(&self, id: &UserId) -> Option<&UserPin> {
        self.pins.get(id)
    }

    /// Whom a name means, or a name or id of somebody whom we met once. Who is online comes first.
    pub(super) fn resolve_known(&self, to: &str) -> Result<UserId, Unresolved> {
        match self.resolve(to) {
            Err(Unresolved::Unknown) => self.find(to, &self.met, |id| self.pins.contains_key(id)),
            found => found,
        }
    }

    /// A user has gone. Gives the label that the user had.
    pub(super) fn remove(&mut self, id: &UserId) -> Option<Box<str>> {
        let label = self.label(id);
        self.take(id)?;
        Some(label)
    }

    fn take(&mut self, id: &UserId) -> Option<User> {
        let user = self.users.remove(id)?;
        self.unindex(id, user.name.as_deref());
        self.meta_bytes -= user.meta.as_ref().map_or(0, |meta| meta.as_str().len());
        Some(user)
    }

    /// Users not confirmed in this session.
    pub(super) fn missing(&self) -> Vec<UserId> {
        let missing = self.users.iter().filter(|(_, user)| user.confirmed < self.session);
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// The pinned key of a user, online or not.
    pub(super) fn key(&self, id: &UserId) -> Option<&PublicKey> {
        self.pins.get(id).map(|pin| &pin.key)
    }

    /// What a user's client wants signed of a direct message.
    pub(super) fn cover(&self, id: &UserId) -> ContentCover {
        self.users.get(id).map(|user| user.cover).unwrap_or_default()
    }

    /// The check of an entry's chain, unless it tells nothing.
    pub(super) fn rotation_check(&self, entry: &DirectoryEntry) -> Option<Check> {
        let key = entry.pubkey.as_ref()?.key().ok()?;
        let id = &entry.user_id;
        let known = self.pins.get(id).filter(|pin| pin.key == *key);
        let idle = known.is_some_and(|pin| !tells_more(id, key, &pin.rotations, &entry.rotations));
        if idle { None } else { rotation_check(id, &entry.rotations, key) }
    }

    pub(super) fn is_online(&self, id: &UserId) -> bool {
        self.users.contains_key(id)
    }

    /// Everybody online but ourselves.
    pub(super) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    pub(super) fn view(&self, id: &UserId) -> Option<KnownUser> {
        let user = self.users.get(id)?;
        Some(KnownUser {
            user_id: id.clone(),
            label: self.label(id),
            server_id: user.server_id.clone(),
            online_local: user.online_local,
            key: self.key(id)?.id(),
        })
    }

    /// What people call a user: the display name, if nobody else has it and it is nobody else's id; else the name
    /// with the shortest beginning of the id that tells its bearers apart; without a name the id. Who is not online
    /// goes by the last name, told apart from everybody who has it or had it last. What somebody was called last whose
    /// key was compared in person is nobody else's name.
    pub(super) fn label(&self, id: &UserId) -> Box<str> {
        let online = self.is_known(id);
        let Some(name) = self.name(id) else {
            let shown = escape_label(id.as_str());
            if self.is_name_of_trusted(&shown, id) {
                return format!("{shown}{SUFFIX_MARK}{shown}").into();
            }
            // A stranger must not pass for somebody whose name its id is.
            let taken = self.names.contains_key(shown.as_str()) || self.met.contains_key(shown.as_str());
            return if !online && (taken || is_reserved(&shown)) {
                format!("{shown}{SUFFIX_MARK}unknown").into()
            } else {
                shown.into()
            };
        };
        let absent = if online { &self.trusted } else { &self.met };
        let bearers = [self.names.get(name), absent.get(name)];
        let others = |set: &BTreeSet<UserId>| set.len() > usize::from(set.contains(id));
        let alone = !bearers.iter().flatten().any(|set| others(set)) && !is_reserved(name);
        if alone && !name.contains(SUFFIX_MARK) && !self.is_id_of_another(name, id) {
            return name.into();
        }
        let suffix = escape_label(beginning(id, &bearers));
        format!("{name}{SUFFIX_MARK}{suffix}").into()
    }

    /// The same for the middle of a sentence.
    pub(super) fn named(&self, id: &UserId) -> String {
        quote_label(&self.label(id)).into_owned()
    }

    fn name(&self, id: &UserId) -> Option<&str> {
        if *id == self.own {
            return self.own_name.as_deref();
        }
        match self.users.get(id) {
            Some(user) => user.name.as_deref(),
            None => self.pins.get(id)?.name.as_deref(),
        }
    }

    /// Whether somebody else whose key was compared is or was called so.
    fn is_name_of_trusted(&self, name: &str, id: &UserId) -> bool {
        self.trusted.get(name).is_some_and(|bearers| bearers.iter().any(|bearer| bearer != id))
    }

    fn is_id_of_another(&self, shown: &str, id: &UserId) -> bool {
        let known = |other: &UserId| self.is_known(other) || self.pins.contains_key(other);
        let by_id = shown.parse::<UserId>().ok().filter(known);
        let odd = self.odd_ids.get(shown).into_iter().flatten();
        by_id.iter().chain(odd).any(|other| other != id)
    }

    fn is_known(&self, id: &UserId) -> bool {
        *id == self.own || self.users.contains_key(id)
    }

    /// Whom a label or id means, of those online. Nobody is meant by what may mean somebody else whose key was compared in
    /// person, who is away, or is there without saying the name.
    pub(super) fn resolve(&self, to: &str) -> Result<UserId, Unresolved> {
        let found = self.find(to, &self.names, |id| self.is_known(id))?;
        if *self.label(&found) == *to || (found.as_str() == to && !self.is_name_of_trusted(to, &found)) {
            return Ok(found);
        }
        let also = match self.find(to, &self.trusted, |id| self.pins.get(id).is_some_and(UserPin::is_trusted))
        {
            Ok(id) if id != found => vec![self.label(&id)],
            Err(Unresolved::Ambiguous(labels)) => labels,
            Ok(_) | Err(Unresolved::Unknown) => return Ok(found),
        };
        let labels: BTreeSet<_> = [self.label(&found)].into_iter().chain(also).collect();
        Err(Unresolved::Ambiguous(labels.into_iter().collect()))
    }

    /// Whom a label or id means. What stands exactly so on the screen, or is an id, counts first; then a
    /// name without what would tell its bearers apart, or with more of the id than is needed. A name that means
    /// everybody is nobody's.
    fn find(
        &self,
        to: &str,
        names: &BTreeMap<Box<str>, BTreeSet<UserId>>,
        is_meant: impl Fn(&UserId) -> bool,
    ) -> Result<UserId, Unresolved> {
        let by_id = to.parse::<UserId>().ok().filter(|id| is_meant(id) && !is_reserved(to));
        let odd = self.odd_ids.get(to).into_iter().flatten();
        let named = names.get(to).into_iter().flatten();
        // A name may itself hold the mark, so every cut is tried.
        let cuts = to.match_indices(SUFFIX_MARK).map(|(at, mark)| (&to[..at], &to[at + mark.len()..]));
        let suffixed = cuts.flat_map(|(name, suffix)| {
            let bearers = names.get(name).into_iter().flatten();
            bearers.filter(move |id| !suffix.is_empty() && escape_label(id.as_str()).starts_with(suffix))
        });
        // Who has no name and whose id is somebody's name stands there as the id twice.
        let twice = to.split_at_checked(to.len() / 2).and_then(|(one, _)| one.parse::<UserId>().ok());
        let twice = twice.filter(|id| is_meant(id) && *self.label(id) == *to);
        let loose: BTreeSet<&UserId> = named.chain(suffixed).chain(odd).chain(&twice).collect();
        let labelled = loose.iter().copied().filter(|id| *self.label(id) == *to);
        let exact: BTreeSet<&UserId> = labelled.chain(&by_id).collect();
        let found = if exact.is_empty() { loose } else { exact };
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(Unresolved::Unknown),
            (Some(one), None) if !is_reserved(to) => Ok(one.clone()),
            (Some(one), more) => {
                let all = [one].into_iter().chain(more).chain(found);
                Err(Unresolved::Ambiguous(all.map(|id| self.label(id)).collect()))
            }
        }
    }

    fn index(&mut self, id: &UserId, name: Option<&str>) {
        if let Some(name) = name {
            self.names.entry(name.into()).or_default().insert(id.clone());
        }
        let shown = escape_label(id.as_str());
        if shown != id.as_str() {
            self.odd_ids.entry(shown.into()).or_default().insert(id.clone());
        }
    }

    fn unindex(&mut self, id: &UserId, name: Option<&str>) {
        if let Some(name) = name {
            forget(&mut self.names, name, id);
        }
        forget(&mut self.odd_ids, &escape_label(id.as_str()), id);
    }
}

fn forget(index: &mut BTreeMap<Box<str>, BTreeSet<UserId>>, name: &str, id: &UserId) {
    if let Some(bearers) = index.get_mut(name) {
        bearers.remove(id);
        if bearers.is_empty() {
            index.remove(name);
        }
    }
}

/// A name as a screen shows it: names that look the same are the same.
fn shown_name(meta: Option<&Meta>) -> Option<Box<str>> {
    Some(escape_label(&meta?.display_name()?).into())
}

/// The shortest beginning of an id that no other bearer of the name shares, of at least four characters.
fn beginning<'a>(id: &'a UserId, bearers: &[Option<&BTreeSet<UserId>>]) -> &'a str {
    let text = id.as_str();
    // In a sorted set the most similar ones are neighbours.
    let neighbours = bearers.iter().flatten().flat_map(|bearers| {
        [bearers.range(..id).next_back(), bearers.range(id..).find(|next| *next != id)].into_iter().flatten()
    });
    let shared =
        neighbours.map(|other| text.chars().zip(other.as_str().chars()).take_while(|(a, b)| a == b).count());
    let chars = shared.max().map_or(0, |shared| shared + 1).max(MIN_SUFFIX_CHARS);
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

impl Unresolved {
    /// Why, for people, given the name.
    pub(super) fn words(&self, to: &str) -> String {
        let to_all = if is_reserved(to) { "; that name means everybody: /all writes to them" } else { "" };
        match self {
            Self::Unknown => format!("nobody online is called {to}{to_all}"),
            Self::Ambiguous(labels) => {
                let labels: Vec<_> = labels.iter().map(|label| quote_label(label)).collect();
                format!("{to} may be {}{to_all}", labels.join(" or "))
            }
        }
    }
}
