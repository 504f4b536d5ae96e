//! The toll ledger: what part of the flour the miller keeps.

/// Grain as it is brought, in kilogrammes.
#[derive(Clone, Copy, Debug)]
pub struct Grist {
    pub kilogrammes: f64,
    pub from_the_abbey: bool,
}

/// The miller keeps a sixteenth, but nothing of what the abbey sends.
pub fn toll(grist: Grist) -> f64 {
    if grist.from_the_abbey {
        0.0
    } else {
        grist.kilogrammes / 16.0
    }
}
