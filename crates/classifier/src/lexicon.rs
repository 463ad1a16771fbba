//! Word groups: lists of words that indicate a kind of task or a field of knowledge. Each group is one feature (how
//! many of its words a text has). The lists are part of the model: a change requires a new training run.

use super::ngrams::{bigram_hash, word_hash};
use std::sync::LazyLock;

/// Group name and its words. `a_b` is the phrase "a b".
pub const GROUPS: [(&str, &str); 48] = [
    (
        "code_nouns",
        "code function script program algorithm bug class method variable array loop compiler api regex \
      backend frontend database query server endpoint repo repository boilerplate snippet component framework \
      middleware plugin module package dependency exception runtime compile syntax codebase dataframe kernel app \
      webpage website stack recursion recursive pseudocode pseudo unit_tests source_code command_line",
    ),
    (
        "code_languages",
        "python java javascript typescript sql css html c c++ php ruby rust golang kotlin swift perl \
      scala haskell matlab r bash powershell shell nodejs node react vue angular django flask laravel spring pandas \
      numpy pytorch tensorflow keras sklearn docker kubernetes terraform aws azure git github linux ubuntu nginx \
      postgres postgresql mysql sqlite mongodb redis json yaml xml csv latex excel vba android ios unity opengl glsl \
      svelte sveltekit nextjs tailwind wordpress symfony nix jq awk ffmpeg jax solidity verilog assembly lua",
    ),
    (
        "code_verbs",
        "implement debug refactor compile install deploy configure import print return parse fix code \
      programming build automate scrape fetch render mock optimize",
    ),
    (
        "summary_words",
        "summarize summarise summary summaries tldr shorten condense recap gist synopsis abstract \
      brief concise briefly key_points main_points main_points in_short takeaways",
    ),
    (
        "rewrite_words",
        "rewrite rephrase paraphrase reword simplify proofread correct grammar spelling translate \
      translation translated tone professional polish edit wordy clearer rewritten improve",
    ),
    (
        "extract_words",
        "extract identify classify categorize category categories label labels tag tags sentiment \
      entities keywords columns rows spreadsheet convert structured retrieve detect positive negative neutral \
      spam offensive attributes fields table format match relevant mentioned from_the",
    ),
    (
        "creative_words",
        "story poem song lyrics haiku limerick joke fiction novel character characters dialogue \
      screenplay rap tale creative roleplay slogan tweet tagline caption blog post essay letter email verse sonnet \
      melody chord hero villain dragon fantasy scene plot monologue narrative parody humorous funny witty catchy \
      advertisement ad article biography bio instagram linkedin speech anime episode villain chapter fanfic title \
      titles names name invitation resume cover_letter short_story write_a imagine",
    ),
    (
        "analysis_words",
        "analyze analyse analysis compare contrast evaluate explain why pros cons advantages \
      disadvantages impact effects difference differences assess review critique strategy plan recommend discuss \
      describe implications approach framework business market company management risk risks tradeoffs causes \
      argument policy best_practices go_to market_size step_by versus vs",
    ),
    (
        "math_words",
        "calculate solve compute equation equations theorem integral derivative probability triangle sum \
      product sequence matrix polynomial prime integer integers real vector angle area volume perimeter radius \
      circle square cube root percent percentage ratio fraction average mean median variance function limit \
      convergent continuous graph vertices modulo divisible remainder factor digits formula slope exponential \
      logarithm sin cos tan log evaluate simplify expression algebra geometry calculus",
    ),
    (
        "proof_words",
        "prove proof show_that lemma theorem proposition corollary qed hence therefore contradiction \
      induction iff necessary sufficient axiom isomorphic homomorphism group ring field subset finite infinite \
      bijection abelian cyclic kernel ideal subgroup",
    ),
    (
        "puzzle_words",
        "puzzle riddle sudoku logic clue clues dice coin coins cards deck train trains doors boxes hats \
      truth lies knight knave arrange how_many how_much weigh scramble",
    ),
    (
        "chat_words",
        "hi hello hey thanks thank you please recommend suggest suggestions tips idea ideas favorite best \
      advice fun what's i'm my me recipe movie movies book books songs places visit travel hobby weekend dinner \
      good_morning how_are tell_me do_you can_you",
    ),
    (
        "story_math",
        "each every total altogether left remaining more less twice half third double triple times per \
      cost costs price sells sold buys bought spends spent earns pays paid dollars dollar cents hours hour minutes \
      days day week weeks month months years miles apples eggs books students children",
    ),
    (
        "money_words",
        "dollar dollars profit revenue income tax interest loan invest investment stock bond dividend \
      assets liabilities equity accounting budget price cost rate annuity inflation",
    ),
    (
        "physics_words",
        "force mass velocity acceleration energy momentum charge electric magnetic field current \
      voltage resistance wave wavelength frequency photon electron temperature pressure heat thermodynamic gas \
      quantum relativity lens optical nuclear capacitor circuit inductance spin orbit star planet galaxy",
    ),
    (
        "chemistry_words",
        "acid base reaction molecule atom atoms bond ion ions oxidation solution mole moles molar \
      compound compounds equilibrium ph nmr spectrum electron orbital organic carbon hydrogen oxygen nitrogen \
      catalyst enthalpy entropy buffer solvent metal salt",
    ),
    (
        "biology_words",
        "cell cells gene genes dna rna protein proteins enzyme species evolution natural_selection \
      organism bacteria virus membrane mitochondria chromosome mutation allele photosynthesis ecosystem population \
      tissue plant plants animal animals hormone receptor",
    ),
    (
        "medicine_words",
        "patient patients disease symptoms treatment diagnosis clinical blood pain therapy drug dose \
      cancer infection surgery nerve muscle artery heart lung kidney liver brain fever physician hospital syndrome \
      anatomy nursing acute chronic",
    ),
    (
        "law_words",
        "court plaintiff defendant statute contract constitutional amendment tort liability negligence \
      jury trial evidence criminal murder property landlord tenant lease attorney appeal supreme_court jurisdiction \
      law legal rights state states federal congress sued motion granted crime police",
    ),
    (
        "history_words",
        "century war empire king treaty revolution colonial nation president soviet british french \
      german american roman china medieval ancient dynasty slavery republic independence economic political \
      government trade peasants church",
    ),
    (
        "politics_words",
        "policy foreign democracy election party vote voters congress senate security liberal \
      conservative sovereignty international relations un nato cold_war state power realism",
    ),
    (
        "economics_words",
        "demand supply price marginal cost monopoly market elasticity gdp unemployment inflation \
      monetary fiscal aggregate curve consumer consumers firm firms output equilibrium exchange_rate tariff",
    ),
    (
        "philosophy_words",
        "moral ethics ethical argument premise conclusion kant utilitarian virtue knowledge belief \
      fallacy valid logic philosophy justice soul god existence wrong right morally_wrong ordinary_moral duty",
    ),
    (
        "psychology_words",
        "behavior cognitive memory learning personality anxiety depression therapist development \
      child attachment perception stimulus conditioning self motivation social intelligence test freud piaget",
    ),
    (
        "religion_words",
        "god religion religious islam muslim christian christianity jesus bible buddhist buddhism \
      hindu jewish judaism church prayer sacred scripture temple prophet",
    ),
    (
        "computing_words",
        "algorithm complexity tree graph node nodes binary bit bits byte bytes memory cache cpu \
      processor network protocol tcp ip packet encryption security hash turing automaton grammar language program \
      operating kernel thread process compiler loop stack queue learning classifier neural training gradient \
      variance bias overfitting regression",
    ),
    (
        "statistics_words",
        "sample mean median variance standard_deviation confidence hypothesis correlation regression \
      significant distribution normal random probability estimate error data experiment survey",
    ),
    (
        "engineering_words",
        "circuit voltage signal system frequency gain feedback control amplifier transistor motor \
      generator power load beam stress strain material design bandwidth modulation antenna register instruction",
    ),
    (
        "logic_symbols_words",
        "wff predicate propositional translate symbolizes valid invalid tautology sentence \
      formula proposition truth_table negation conjunction following_argument",
    ),
    (
        "business_words",
        "marketing customer customers product brand consumer employee employees manager management \
      organization organizational corporate strategy business leadership stakeholders pr public_relations media",
    ),
    (
        "geography_words",
        "country countries population percent region world africa asia europe america united_states \
      city river ocean climate birth rate as_of according_to approximately",
    ),
    (
        "hedges",
        "most best likely probably generally usually typically often primarily mainly approximately about",
    ),
    (
        "negations",
        "not no never none neither nor cannot can't don't doesn't isn't aren't without except least false \
      incorrect unlikely",
    ),
    (
        "except_words",
        "except not_true all_except following_except is_not are_not least_likely not_a not_include",
    ),
    ("true_false", "true false correct incorrect statement statements statement_1 statement_2"),
    ("conditionals", "if then suppose assume given let would could should when unless whether"),
    ("quantifiers", "all some every any each no exactly at_least at_most only both either"),
    (
        "comparatives",
        "more less greater fewer larger smaller higher lower better worse than longer shorter faster",
    ),
    (
        "temporal",
        "before after during while since until first next then finally later earlier year years ago",
    ),
    ("pronouns_first", "i me my mine we our us i'm i've i'd"),
    ("pronouns_second", "you your yours you're"),
    ("pronouns_third", "he she they him her them his their its"),
    ("modals", "can could may might must shall should will would"),
    ("articles", "the a an this that these those"),
    ("prepositions", "of in on at by for with from to into over under between through about against"),
    ("question_words", "what which who whom whose where when why how"),
    (
        "imperatives",
        "write make create give list provide design generate draft compose develop prepare produce find \
      show tell help explain describe act come_up",
    ),
    (
        "steps_words",
        "step steps plan detailed guide instructions process outline strategy approach first then",
    ),
];

/// Groups of the first word of a text; each is one feature.
pub const FIRST_WORDS: [(&str, &str); 14] = [
    ("what", "what what's"),
    ("which", "which"),
    ("who_when_where", "who when where whose whom"),
    ("how", "how"),
    ("why", "why"),
    ("yes_no", "is are do does did can could would should will has have was were"),
    ("condition", "if suppose assume given let consider for"),
    ("article", "a an the this these in on at"),
    ("write", "write compose draft make create generate design develop build"),
    ("find", "find calculate compute determine evaluate solve prove show simplify"),
    ("explain", "explain describe discuss compare analyze analyse evaluate tell"),
    ("transform", "summarize summarise rewrite paraphrase translate convert correct shorten edit"),
    ("take_from", "extract identify classify categorize list name choose select decide"),
    ("person", "i i'm my we you your as act imagine pretend"),
];

const SLOTS: usize = 4_096;

/// Open addressing over word hashes; each entry has the set of groups as bits.
struct Table(Box<[(u32, u64)]>);

impl Table {
    fn of(groups: &[(&str, &str)]) -> Table {
        let mut table = Table(vec![(0, 0); SLOTS].into_boxed_slice());
        for (bit, (_, words)) in groups.iter().enumerate() {
            words.split_whitespace().for_each(|entry| table.add(entry_hash(entry), 1 << bit));
        }
        table
    }

    fn add(&mut self, hash: u32, bits: u64) {
        let mut at = slot(hash);
        while let Some(entry) = self.0.get_mut(at) {
            if entry.1 == 0 || entry.0 == hash {
                *entry = (hash, entry.1 | bits);
                return;
            }
            at = (at + 1) % SLOTS;
        }
    }

    fn get(&self, hash: u32) -> u64 {
        let mut at = slot(hash);
        // At most a third of the slots is used, so an empty one ends every search.
        while let Some(&(found, bits)) = self.0.get(at) {
            if bits == 0 || found == hash {
                return bits;
            }
            at = (at + 1) % SLOTS;
        }
        0
    }
}

fn slot(hash: u32) -> usize {
    (hash.wrapping_mul(0x9e37_79b1) >> 20) as usize % SLOTS
}

fn entry_hash(entry: &str) -> u32 {
    match entry.split_once('_') {
        Some((first, second)) => bigram_hash(word_hash(first.as_bytes()), word_hash(second.as_bytes())),
        None => word_hash(entry.as_bytes()),
    }
}

static WORDS: LazyLock<Table> = LazyLock::new(|| Table::of(&GROUPS));
static FIRST: LazyLock<Table> = LazyLock::new(|| Table::of(&FIRST_WORDS));

/// The groups of a word or of a phrase of two words, by its hash; bit `n` is `GROUPS[n]`.
pub fn groups(hash: u32) -> u64 {
    WORDS.get(hash)
}

/// The groups of the first word, by its hash; bit `n` is `FIRST_WORDS[n]`.
pub fn first_word_groups(hash: u32) -> u64 {
    FIRST.get(hash)
}
