//! Abbreviations and sentence openers per language. Lower case, without the final stop.

use crate::document::Language;

/// Abbreviations after which the sentence always goes on.
pub(super) fn needs_more(language: Language, token: &str) -> bool {
    NEEDS_MORE.contains(&token)
        || match language {
            Language::En => NEEDS_MORE_EN.contains(&token),
            Language::Fr => NEEDS_MORE_FR.contains(&token),
            Language::Es => NEEDS_MORE_ES.contains(&token),
            Language::De => NEEDS_MORE_DE.contains(&token),
        }
}

/// Words that are abbreviations only before a number (`no. 3`).
pub(super) fn needs_number(language: Language, token: &str) -> bool {
    match language {
        Language::En => [
            "no", "nos", "p", "pp", "vol", "vols", "ch", "sec", "eq", "eqs", "ref", "refs", "pt",
            "art",
        ]
        .contains(&token),
        Language::Fr => [
            "n", "no", "p", "pp", "vol", "chap", "art", "réf", "éq", "sect",
        ]
        .contains(&token),
        Language::Es => [
            "n", "no", "núm", "num", "nº", "p", "pp", "pág", "págs", "vol", "cap", "art", "ref",
        ]
        .contains(&token),
        Language::De => ["nr", "s", "bd", "kap", "art", "abs", "ziff"].contains(&token),
    }
}

/// Abbreviations that may stand at the end of a sentence.
pub(super) fn may_end(language: Language, token: &str) -> bool {
    MAY_END.contains(&token)
        || match language {
            Language::En => [
                "inc", "ltd", "corp", "co", "jr", "sr", "ph.d", "m.d", "u.s.a", "hr", "hrs", "min",
                "wk", "wt", "yr", "yrs",
            ]
            .contains(&token),
            Language::Fr => ["éd", "cie", "vs"].contains(&token),
            Language::Es => ["uu", "ud", "uds", "cía", "s.a", "v.o"].contains(&token),
            Language::De => ["usw", "min", "u.a", "o.ä", "u.ä", "ff", "gmbh"].contains(&token),
        }
}

/// Words that seldom occur with a capital except at the start of a sentence.
pub(super) fn starts_sentence(language: Language, word: &str) -> bool {
    let list: &[&str] = match language {
        Language::En => &[
            "The",
            "This",
            "These",
            "Those",
            "That",
            "We",
            "In",
            "It",
            "He",
            "She",
            "They",
            "Our",
            "His",
            "Her",
            "Their",
            "There",
            "Here",
            "However",
            "Although",
            "After",
            "Before",
            "When",
            "While",
            "During",
            "Because",
            "Since",
            "Moreover",
            "Furthermore",
            "Therefore",
            "Thus",
            "Then",
            "To",
            "At",
            "On",
            "For",
            "From",
            "By",
            "With",
            "Both",
            "Some",
            "All",
            "One",
            "Two",
            "Three",
            "No",
            "Not",
            "As",
            "An",
            "If",
            "Its",
            "Using",
            "Among",
            "Patients",
            "Results",
            "Conclusions",
            "Methods",
            "Also",
            "Finally",
            "Next",
            "What",
            "Which",
            "Such",
            "Only",
            "Each",
            "Most",
            "Many",
            "Other",
            "Another",
            "Of",
        ],
        Language::Fr => &[
            "Le",
            "La",
            "Les",
            "L",
            "Un",
            "Une",
            "Des",
            "Ce",
            "Cet",
            "Cette",
            "Ces",
            "Il",
            "Elle",
            "Ils",
            "Elles",
            "On",
            "Nous",
            "Vous",
            "Dans",
            "En",
            "Au",
            "Aux",
            "Du",
            "De",
            "Pour",
            "Par",
            "Avec",
            "Sans",
            "Sur",
            "Chez",
            "Si",
            "Après",
            "Avant",
            "Lors",
            "Cependant",
            "Toutefois",
            "Ne",
            "Son",
            "Sa",
            "Ses",
            "Leur",
            "Leurs",
            "Votre",
            "Vos",
            "Mais",
            "Puis",
            "Ainsi",
            "Comme",
            "Quand",
            "Tous",
            "Toutes",
            "Aucun",
            "Aucune",
            "Fin",
        ],
        Language::Es => &[
            "El",
            "La",
            "Los",
            "Las",
            "Un",
            "Una",
            "Unos",
            "Unas",
            "Se",
            "Este",
            "Esta",
            "Estos",
            "Estas",
            "Ese",
            "Esa",
            "En",
            "A",
            "Al",
            "Del",
            "De",
            "Con",
            "Sin",
            "Por",
            "Para",
            "Tras",
            "Ante",
            "Durante",
            "Cuando",
            "Como",
            "No",
            "Su",
            "Sus",
            "Sin",
            "Desde",
            "Hasta",
            "Entre",
            "Sobre",
            "Según",
            "Ha",
            "Fue",
            "Es",
            "Era",
            "Presenta",
            "Paciente",
            "Dada",
            "Dado",
            "Aunque",
            "Además",
            "También",
            "Finalmente",
            "Posteriormente",
            "Actualmente",
            "Debido",
            "Ante",
            "Todo",
            "Todos",
            "Ninguno",
            "Fin",
            "Mejoró",
        ],
        Language::De => &[
            "Der", "Die", "Das", "Den", "Dem", "Des", "Ein", "Eine", "Einer", "Einem", "Einen",
            "Eines", "Dieser", "Diese", "Dieses", "Es", "Er", "Sie", "Wir", "Man", "In", "Im",
            "Am", "An", "Auf", "Bei", "Beim", "Mit", "Nach", "Vor", "Von", "Vom", "Zu", "Zum",
            "Zur", "Für", "Durch", "Über", "Unter", "Während", "Wenn", "Als", "Da", "Dann",
            "Daher", "Dabei", "Jedoch", "Auch", "Nicht", "Kein", "Keine", "Alle", "Bisher", "Sein",
            "Seine", "Ihr", "Ihre", "Und", "Aber", "Aus", "Falls", "Ob", "Wie",
        ],
    };
    list.contains(&word)
}

/// Small words after which a single capital is a person's or a species' initial, not the end of a noun.
pub(super) fn is_function_word(language: Language, word: &str) -> bool {
    let list: &[&str] = match language {
        Language::En => &[
            "and", "from", "with", "the", "for", "both", "but", "that", "than", "was", "were",
            "are", "also", "into", "not",
        ],
        Language::Fr => &[
            "les", "des", "par", "avec", "chez", "dans", "une", "pour", "sur", "que", "aux", "vu",
            "pas", "est", "sont",
        ],
        Language::Es => &[
            "los", "las", "por", "con", "del", "una", "para", "que", "como", "entre", "aisló",
            "fue", "son",
        ],
        Language::De => &[
            "und", "der", "die", "das", "den", "dem", "des", "von", "mit", "bei", "für", "durch",
            "oder", "auch", "ein", "eine",
        ],
    };
    list.contains(&word)
}

/// In every language: Latin, titles, figures and tables, ranks of species.
const NEEDS_MORE: &[&str] = &[
    "dr", "prof", "vs", "fig", "figs", "cf", "ca", "e.g", "i.e", "viz", "tab", "st", "mr", "mrs",
    "ms", "med", "subsp", "ssp", "var", "gen", "nov", "resp", "approx", "lat", "sen", "phil",
    "nat", "rer", "hon", "dept", "univ", "inst", "suppl",
];

const NEEDS_MORE_EN: &[&str] = &[
    "drs", "messrs", "rev", "gov", "capt", "lt", "col", "eg", "ie", "incl", "esp",
];

const NEEDS_MORE_FR: &[&str] = &[
    "mm", "mme", "mmes", "mlle", "drs", "pr", "prs", "ex", "p.ex", "env", "c.-à-d", "c-à-d", "càd",
    "chap", "éd", "voy", "ste", "bd",
];

const NEEDS_MORE_ES: &[&str] = &[
    "dra", "dres", "dras", "sr", "sra", "sres", "sta", "sto", "dña", "ej", "p.ej", "aprox", "pág",
    "págs", "núm", "ee", "fdo", "av", "avda", "máx", "mín", "vd", "vds", "izq", "dcho",
];

const NEEDS_MORE_DE: &[&str] = &[
    "z.b", "bzw", "d.h", "abb", "abbn", "evtl", "ggf", "inkl", "exkl", "max", "mind", "vgl", "s.o",
    "s.u", "o.g", "sog", "dipl", "fr", "str", "entspr", "bes", "einschl", "zzgl", "m.e", "v.a",
    "u.u", "i.d.r",
];

/// In every language: Latin that closes a list, ways of giving a drug, times of day, units written with a stop.
const MAY_END: &[&str] = &[
    "etc", "al", "spp", "sp", "i.v", "iv", "i.m", "im", "s.c", "sc", "p.o", "po", "i.p", "ip",
    "i.c.v", "b.i.d", "t.i.d", "q.d", "p.r.n", "a.m", "p.m", "s.d", "s.e", "s.e.m", "d.c", "ibid",
    "v.o",
];
