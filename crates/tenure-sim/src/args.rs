//! What the simulator is asked to do.

use std::str::FromStr;

use tenure_sim::{Mutant, Store, StoreMutant};

pub(crate) const USAGE: &str = "usage: tenure-sim --seeds N [--from S] | --minutes M | --seed S \
    [--quiet] | --mutants   [--store NAME] [--mutant NAME] [--threads T] [--json]
       tenure-sim scale [--sessions N,...] [--members M] [--ttl MS] [--rest S] [--json]";

/// The command line.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) seeds: Option<u64>,
    pub(crate) from: u64,
    pub(crate) seed: Option<u64>,
    pub(crate) minutes: Option<u64>,
    pub(crate) threads: usize,
    pub(crate) mutants: bool,
    pub(crate) store: Option<Store>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) store_mutant: Option<StoreMutant>,
    pub(crate) quiet: bool,
    pub(crate) json: bool,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self { threads: 1, ..Self::default() };
        let mut planted = None;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seeds" => args.seeds = Some(value(&word, words.next())?),
                "--from" => args.from = value(&word, words.next())?,
                "--seed" => args.seed = Some(value(&word, words.next())?),
                "--minutes" => args.minutes = Some(value(&word, words.next())?),
                "--threads" => args.threads = value(&word, words.next())?,
                "--mutants" => args.mutants = true,
                "--quiet" => args.quiet = true,
                "--json" => args.json = true,
                "--mutant" => planted = Some(words.next().unwrap_or_default()),
                "--store" => {
                    let name = words.next().unwrap_or_default();
                    let names: Vec<_> = Store::ALL.iter().map(|store| store.as_str()).collect();
                    let unknown = || format!("no store {name}: {}", names.join(", "));
                    args.store = Some(Store::named(&name).ok_or_else(unknown)?);
                }
                _ => return Err(format!("{word}?")),
            }
        }
        if let Some(name) = planted {
            args.plant(&name)?;
        }
        if args.seed.is_none() && args.seeds.is_none() && args.minutes.is_none() && !args.mutants {
            return Err(String::from("one of --seeds, --minutes, --seed and --mutants is needed"));
        }
        Ok(args)
    }

    fn plant(&mut self, name: &str) -> Result<(), String> {
        match self.store {
            Some(_) => self.store_mutant = StoreMutant::named(name),
            None => self.mutant = Mutant::named(name),
        }
        if self.mutant.is_none() && self.store_mutant.is_none() {
            let of_quorum = Mutant::ALL.iter().map(|mutant| mutant.as_str());
            let of_stores = StoreMutant::ALL.iter().map(|mutant| mutant.as_str());
            let names: Vec<_> = match self.store {
                Some(_) => of_stores.collect(),
                None => of_quorum.collect(),
            };
            return Err(format!("no mutant {name} here: {}", names.join(", ")));
        }
        Ok(())
    }
}

pub(crate) fn value<T: FromStr>(option: &str, word: Option<String>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("{option} needs a number"))?;
    word.parse().map_err(|_| format!("{option} needs a number, not {word}"))
}
