//! Seed logins (decisions §4): USER_REGISTER and USER_LOGIN. The password crosses the link, so only links that
//! nobody can read along may carry one, unless the operator allows more.
//!
//! The verifier is checked at the border ([`Action::CheckPassword`]), for users that do not exist as well, so
//! that time tells nothing. Attempts are counted by address when they begin, and right ones are given back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Server;
use super::api::{AccountRecord, Action, Caller, LinkId, LinkOrigin, PasswordLogins, Record};
use super::budget::Budget;
use super::link::{Link, LinkState};
use super::login::Arrival;
use super::pins::PinOutcome;
use super::timers::Timer;
use crate::crypto::{Check, Refusal, Verified};
use crate::dialect::Dialect;
use crate::wire::{
    ErrorCode, Frame, Payload, PublicKey, Recipient, UserId, UserLoggedIn, UserLogin, UserRegister,
    UserRegistered, decode_base64, encode_base64,
};

/// Longest password, in bytes: seed clients put no bound.
const MAX_PASSWORD_BYTES: usize = 1024;

/// Length of what scrypt derives.
const HASH_BYTES: usize = 32;

/// Lengths of salts, in bytes; the seed's have 16.
const SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// The `privkey_store` of accounts whose user has proven a key since; none registers with it.
const RETIRED: &str = "";

/// What is checked for users that do not exist: as much work as for any other.
const NOBODYS_SALT: [u8; 16] = *b"nobody's salt...";

/// scrypt(password, salt, N = 16384, r = 8, p = 1, 32 bytes) is to be compared with `hash`, in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordCheck {
    /// Which link waits for the answer.
    pub link: LinkId,
    /// The salt.
    pub salt: Box<[u8]>,
    /// What must come out.
    pub hash: [u8; HASH_BYTES],
    /// What the user typed.
    pub password: Box<str>,
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordCheck({:?}, …)", self.link)
    }
}

/// Passwords, and who tries them.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_user: BTreeMap<UserId, Account>,
    /// Checks under way.
    checks: BTreeMap<LinkId, Attempt>,
    /// Wrong passwords by address.
    wrong: ByAddress,
    /// Registrations by address.
    registrations: ByAddress,
}

/// What each address may still do.
#[derive(Debug, Default)]
struct ByAddress(BTreeMap<IpAddr, Budget>);

impl ByAddress {
    /// Takes one of what the address has, or gets as a newcomer. What is full again need not be remembered, and who
    /// did least is forgotten for a newcomer: an attacker with more addresses than are counted has as many budgets
    /// anyway, and keeps nobody else out.
    fn take(&mut self, address: IpAddr, newcomer: Budget, max: usize, now: Duration) -> bool {
        let Self(budgets) = self;
        if budgets.len() >= max && !budgets.contains_key(&address) {
            budgets.retain(|_, budget| !budget.is_full(now));
        }
        if budgets.len() >= max && !budgets.contains_key(&address) {
            let left = budgets.iter_mut().map(|(address, budget)| (budget.left(now), *address));
            let least = left.max_by(|(one, _), (other, _)| one.total_cmp(other));
            if let Some((_, least)) = least {
                budgets.remove(&least);
            }
        }
        budgets.entry(address).or_insert(newcomer).take(now)
    }

    fn give_back(&mut self, address: IpAddr) {
        if let Some(budget) = self.0.get_mut(&address) {
            budget.give_back();
        }
    }
}

struct Account {
    salt: Box<[u8]>,
    hash: [u8; HASH_BYTES],
    privkey_store: Box<str>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account(…)")
    }
}

#[derive(Debug)]
struct Attempt {
    user: UserId,
    address: IpAddr,
}

impl Accounts {
    pub(super) fn restore(&mut self, record: AccountRecord) {
        let AccountRecord { user_id, privkey_store, pake_password } = record;
        // What does not read as a verifier opens nothing: it was checked before it was stored.
        if let Some((salt, hash)) = read_verifier(&pake_password) {
            self.by_user.insert(user_id, Account { salt, hash, privkey_store });
        }
    }

    /// Whether a password opens this id.
    pub(super) fn has(&self, user: &UserId) -> bool {
        self.by_user.contains_key(user)
    }
}

impl Server {
    /// Whether a password may cross this link, and where it comes from.
    fn password_caller(&self, link: &Link) -> Option<Caller> {
        let LinkOrigin::AcceptedFrom(caller) = link.origin else { return None };
        let allowed = match self.config.password_logins {
            PasswordLogins::Never => false,
            PasswordLogins::Private => caller.private,
            PasswordLogins::Anywhere => true,
        };
        (allowed && !self.config.require_proof).then_some(caller)
    }

    /// USER_REGISTER and USER_LOGIN, mostly unsigned; who signs must have the key.
    pub(super) fn password_rule(
        &self,
        link: &Link,
        frame: &Frame,
        user: &UserId,
        key: Option<&PublicKey>,
    ) -> Result<Vec<Check>, Refusal> {
        if self.password_caller(link).is_none() {
            let detail = "this server takes no passwords on this link";
            return Err(Refusal::of(frame, ErrorCode::UnknownType, detail));
        }
        if frame.from().is_some_and(|from| from != user.id()) {
            return Err(super::admission::foreign(frame));
        }
        if self.config.strict_ids && !user.id().is_uuid_v4() {
            return Err(Refusal::of(frame, ErrorCode::UnknownType, "user_id is not a UUID v4"));
        }
        match (frame.sig(), key) {
            (None, _) => Ok(Vec::new()),
            (Some(_), Some(key)) => Ok(super::admission::sig_if_there(frame, key, None)),
            (Some(_), None) => {
                // In the words of a signature that fails: nothing is told of who is known.
                Err(Refusal::of(frame, ErrorCode::InvalidSig, "sig does not hold"))
            }
        }
    }

    pub(super) fn on_user_register(
        &mut self,
        link_id: LinkId,
        frame: &Verified,
        registration: &UserRegister,
    ) {
        self.charge_request(link_id);
        let reference = Some(frame.frame().reference());
        let UserRegister { user_id, pubkey, privkey_store, pake_password } = registration;
        let refused =
            |server: &mut Self, code, detail: &str| server.error(link_id, code, detail, reference.clone());
        let Ok(key) = pubkey.key().cloned() else { return };
        let Some((salt, hash)) = read_verifier(pake_password) else {
            let detail = "pake_password is not b64u(salt).b64u(hash), the hash of 32 bytes";
            return refused(self, ErrorCode::UnknownType, detail);
        };
        if privkey_store.len() > self.config.limits.privkey_store_bytes {
            return refused(self, ErrorCode::UnknownType, "privkey_store is too long");
        }
        if **privkey_store == *RETIRED {
            return refused(self, ErrorCode::UnknownType, "privkey_store is empty");
        }
        if self.accounts.has(user_id) || self.users.contains_key(user_id) {
            return refused(self, ErrorCode::NameInUse, "this id is registered or known");
        }
        let caller = self.links.get(&link_id).and_then(|link| self.password_caller(link));
        if !caller.is_some_and(|caller| self.may_register(caller.address)) {
            return refused(
                self,
                ErrorCode::Timeout,
                "too many registrations from there: try again in a minute",
            );
        }
        let full = self.accounts.by_user.len() >= self.config.limits.accounts;
        if full || self.pin_user(user_id, &key, &[], false, true) != PinOutcome::First {
            return refused(self, ErrorCode::Timeout, "this server takes no more registrations");
        }
        let privkey_store = privkey_store.clone();
        let record = AccountRecord {
            user_id: user_id.clone(),
            privkey_store: privkey_store.clone(),
            pake_password: pake_password.clone(),
        };
        self.out.push(Action::Persist(Record::Account(record)));
        self.accounts.by_user.insert(user_id.clone(), Account { salt, hash, privkey_store });
        self.grant_time(link_id);
        let registered = UserRegistered { user_id: user_id.clone() };
        self.send(link_id, Recipient::from(user_id), &Payload::UserRegistered(registered));
    }

    /// USER_LOGIN: the answer comes from the border, whether or not there is such a user.
    pub(super) fn on_user_login(&mut self, link_id: LinkId, frame: &Verified, login: &UserLogin) {
        let now = self.now.instant;
        let reference = Some(frame.frame().reference());
        let Some(link) = self.links.get(&link_id) else { return };
        let Some(Caller { address, .. }) = self.password_caller(link) else { return };
        let busy = self.accounts.checks.len() >= self.config.limits.password_checks
            || self.accounts.checks.contains_key(&link_id);
        if busy || login.password.len() > MAX_PASSWORD_BYTES || !self.may_try(address) {
            let detail = "too many attempts, or one is under way: try again in a moment";
            return self.error(link_id, ErrorCode::Timeout, detail, reference);
        }
        self.charge_request(link_id);
        let user = login.user_id.clone();
        let account = self.accounts.by_user.get(&user);
        let (salt, hash) = match account {
            Some(account) => (account.salt.clone(), account.hash),
            None => (NOBODYS_SALT.into(), [0; HASH_BYTES]),
        };
        let check = PasswordCheck { link: link_id, salt, hash, password: login.password.clone() };
        self.accounts.checks.insert(link_id, Attempt { user, address });
        self.timers.set(Timer::Password(link_id), now + self.config.timing.password);
        self.out.push(Action::CheckPassword(check));
    }

    /// Takes one of the address's wrong passwords in advance.
    fn may_try(&mut self, address: IpAddr) -> bool {
        let (now, limits) = (self.now.instant, &self.config.limits);
        let rate = limits.wrong_passwords_per_second;
        let newcomer = Budget::new(rate, f64::from(rate), now);
        self.accounts.wrong.take(address, newcomer, limits.password_addresses, now)
    }

    /// Accounts are for good, and there is room for so many: nobody takes it all in a moment.
    fn may_register(&mut self, address: IpAddr) -> bool {
        let (now, limits) = (self.now.instant, &self.config.limits);
        let rate = 1.0 / self.config.timing.registration.as_secs_f64().max(0.001);
        let newcomer = Budget::new(limits.registration_burst, rate, now);
        self.accounts.registrations.take(address, newcomer, limits.password_addresses, now)
    }

    /// The border compared.
    pub(super) fn on_password_checked(&mut self, link_id: LinkId, right: bool) {
        self.timers.cancel(&Timer::Password(link_id));
        let Some(Attempt { user, address }) = self.accounts.checks.remove(&link_id) else { return };
        // A hash of zeros stands for nobody: whatever the border says, nobody logs in.
        let account = self.accounts.by_user.get(&user).filter(|_| right);
        let Some(privkey_store) = account.map(|account| account.privkey_store.clone()) else {
            self.grant_time(link_id);
            return self.error(link_id, ErrorCode::BadKey, "wrong user id or password", None);
        };
        self.accounts.wrong.give_back(address);
        match self.links.get(&link_id).map(|link| &link.state) {
            Some(LinkState::Greeting) => self.log_in_by_password(link_id, user, privkey_store),
            Some(LinkState::User(own)) if *own == user => self.answer_login(link_id, &user, privkey_store),
            Some(LinkState::User(_) | LinkState::Login(_) | LinkState::Joining(_) | LinkState::Server(_))
            | None => {}
        }
    }

    /// The user has proven its key, or another one took its place: the password opens nothing any more.
    pub(super) fn retire_account(&mut self, user: &UserId) {
        let account = self.accounts.by_user.get_mut(user);
        let Some(account) = account.filter(|account| *account.privkey_store != *RETIRED) else { return };
        account.privkey_store = RETIRED.into();
        let record = AccountRecord {
            user_id: user.clone(),
            privkey_store: RETIRED.into(),
            pake_password: format!("{}.{}", encode_base64(&account.salt), encode_base64(&account.hash))
                .into(),
        };
        self.out.push(Action::Persist(Record::Account(record)));
    }

    fn log_in_by_password(&mut self, link_id: LinkId, user: UserId, privkey_store: Box<str>) {
        if *privkey_store == *RETIRED {
            let detail =
                "this password was given up: log in with the key, which has been proven or replaced since";
            self.error(link_id, ErrorCode::BadKey, detail, None);
            return self.grant_time(link_id);
        }
        let Some(entry) = self.users.get(&user) else { return };
        let (key, meta) = (entry.key.clone(), entry.meta.clone());
        let Some(key) = key else { return };
        if self.local.contains_key(&user) || self.remotely_attested(&user, &key).is_some() {
            self.error(link_id, ErrorCode::NameInUse, "this id is online", None);
            return self.grant_time(link_id);
        }
        self.set_dialect(link_id, Dialect::Seed);
        let privkey_store = Some(privkey_store);
        let rotations = Vec::new();
        self.arrive(link_id, Arrival { user, key, rotations, meta, attestation: None, privkey_store });
    }

    pub(super) fn answer_login(&mut self, link_id: LinkId, user: &UserId, privkey_store: Box<str>) {
        let answer = UserLoggedIn {
            user_id: user.clone(),
            server_id: None,
            pubkey: None,
            privkey_store: Some(privkey_store),
        };
        self.send(link_id, Recipient::from(user), &Payload::UserLoggedIn(answer));
    }

    /// Who registers or mistypes has not been silent: the time to say who one is begins again.
    fn grant_time(&mut self, link_id: LinkId) {
        if self.timers.is_set(&Timer::Greeting(link_id)) {
            self.timers.set(Timer::Greeting(link_id), self.now.instant + self.config.timing.greeting);
        }
    }

    /// The border never answered: its queue is not ours to wait for.
    pub(super) fn on_password_overdue(&mut self, link_id: LinkId) {
        if self.accounts.checks.remove(&link_id).is_some() {
            self.error(link_id, ErrorCode::Timeout, "the password could not be checked", None);
        }
    }
}

/// `b64u(salt).b64u(hash)`.
fn read_verifier(text: &str) -> Option<(Box<[u8]>, [u8; HASH_BYTES])> {
    let (salt, hash) = text.split_once('.')?;
    let salt = decode_base64(salt).ok().filter(|salt| SALT_BYTES.contains(&salt.len()))?;
    let hash = decode_base64(hash).ok()?.try_into().ok()?;
    Some((salt.into(), hash))
}
