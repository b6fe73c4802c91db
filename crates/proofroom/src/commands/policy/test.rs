//! `proofroom policy test`: every example of the classification and routing files, one a line, and
//! every way out of the routing table.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use proofroom::judge::{Judge, try_examples};
use proofroom_classify::Survey;

use super::super::{DIFFERENT, Failure, INTERNAL, classify};

pub(super) fn run(dir: Option<&Path>) -> Result<ExitCode, Failure> {
    let output = |error| Failure::new(INTERNAL, "output", error);
    let outcomes = try_examples(dir).map_err(classify::usage)?;
    let mut out = anstream::stdout().lock();
    for (file, outcome) in &outcomes {
        let state = if outcome.holds { "holds" } else { "FAILS" };
        let must = if outcome.wanted { "match" } else { "not match" };
        let (at, rule) = (&outcome.location, &outcome.rule);
        writeln!(out, "{state}  {file}  {at}: `{rule}` must {must}").map_err(output)?;
    }
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| !outcome.holds)
        .count();
    let held = outcomes.len().saturating_sub(failed);
    writeln!(out, "{held} examples hold, {failed} fail").map_err(output)?;
    if failed > 0 {
        return Ok(ExitCode::from(DIFFERENT));
    }
    let judge = Judge::open(dir).map_err(classify::usage)?;
    let survey = judge.routing.survey();
    ways(&judge, &survey, &mut out).map_err(output)?;
    classify::warn_of_expired(judge.classification());
    Ok(if survey.highest_unattested == 0 && survey.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

fn ways(judge: &Judge, survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    let levels = judge.classification().levels();
    for way in &survey.ways {
        let label = levels.name(way.label);
        let to = way.tier.as_deref().unwrap_or("refused");
        writeln!(
            out,
            "{label} -> {to}, by rule `{}`: {}",
            way.rule, way.requests
        )?;
    }
    for glob in &survey.without_example {
        writeln!(out, "not tried: no name could be made up for `{glob}`")?;
    }
    let tried = survey.tried;
    let all = if survey.complete { "all" } else { "not all" };
    let highest = levels.name(levels.highest());
    writeln!(
        out,
        "{tried} requests tried, {all} that the table can tell apart; `{highest}` to an unattested tier: {}",
        survey.highest_unattested
    )
}
