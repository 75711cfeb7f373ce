"""The tagger: what a text says comes out as domains, and nothing else does."""

import pytest

from emulator.models.tagger import tags


@pytest.mark.parametrize(
    ("bio", "expected"),
    [
        ("I am a registered nurse on a cardiac ward, before that a midwife.", {"nursing", "midwifery", "cardiology"}),
        ("Family lawyer: divorce, custody, inheritance.", {"family law", "inheritance law"}),
        ("Dairy farmer and beekeeper; I also make cheese.", {"dairy farming", "beekeeping", "cheesemaking"}),
        ("Python/Django developer, CI/CD, front-end", {"python", "django", "devops", "frontend development"}),
        ("Professional violinist who teaches piano", {"violin", "music education"}),
        ("Truck driver, then warehouse manager.", {"trucking", "logistics"}),
        ("Beekeeper\nKeeps bees and teaches water law.", {"beekeeping", "water law"}),
        ("Imkerin und Tischlermeisterin, gelernte Tischlerin", {"beekeeping", "carpentry"}),
        ("Infirmière puis boulangère à Lyon", {"nursing", "baking"}),
        ("律師、專長人權", {"human rights"}),
        ("Гидролог. Водное право и распределённые системы", {"hydrology", "water law", "distributed systems"}),
        ("Преподаю математику, лечу аритмии", {"mathematics education", "arrhythmia"}),
        ("Hidróloga: acuíferos, riego por goteo", {"hydrology", "hydrogeology", "irrigation"}),
        ("Es ingeniero en bioinformática y analiza datos genómicos.", {"bioinformatics", "genetics"}),
        ("È docente di storia dell'arte e traduttrice letteraria.", {"art history"}),
        ("Sie ist Wirtschaftsjournalistin und Kulturanthropologin.", {"journalism", "anthropology"}),
        ("Je suis chercheuse en IA à Lyon.", {"artificial intelligence"}),
        ("Занимаюсь разработкой веб-приложений и баз данных", {"databases"}),
        ("主要研究方向為訊號處理與電力電子", {"signal processing", "power electronics"}),
    ],
)
def test_what_the_text_says_is_found(bio: str, expected: set[str]) -> None:
    """All walks of life, several languages, however it is spelled."""
    assert expected <= set(tags(bio))


@pytest.mark.parametrize(
    ("bio", "wrong"),
    [
        ("Go check out my page. I love carpentry and wood.", "go"),
        ("Rust is the enemy of every farmer.", "rust"),
        ("I work at City Network as a nurse.", "computer networking"),
        ("Mary Baker is a lawyer.", "baking"),
        ("Software architect for Java.", "architecture"),
        ("I maintain the natural language features of a compiler.", "nature"),
        ("As a nurse and pharmacist I react to changes quickly.", "react"),
        ("豐富的工作坊設計與帶領經驗", "design"),
        ("海洋工程所畢業、任專案經理", "oceanography"),
        ("撰寫「玩具烏托邦」部落格、推廣 Linux", "toy design"),
        ("電腦科學家、也是實驗電影工作者", "neuroscience"),
        ("доктор технических наук, гидролог", "medicine"),
        ("Speaker at DrupalCamp, frontend developer", "drupal"),
        ("Investor and board director", "board directing"),
        ("Digital product designer for React apps", "industrial design"),
        ("Viviendo en Viena como programador de apps.", "housing policy"),
        ("Elle est infirmière et travaille sur les bactéries du sol.", "battery technology"),
        ("Il développe des bibliothèques pour des éditeurs de logiciels.", "library science"),
        ("軟體工程師 參與圖像系統 Adobe Systems", "earth building"),
    ],
)
def test_homonyms_are_not_taken_for_domains(bio: str, wrong: str) -> None:
    """A word of the vocabulary that means something else here gives no tag."""
    assert wrong not in tags(bio)


def test_a_title_before_the_biography_ranks_first() -> None:
    """What stands at the beginning is what a person is."""
    assert tags("Cardiologist\nI like music, cooking and photography, and once studied law.")[0] == "cardiology"


def test_leisure_gives_way_to_work() -> None:
    """What a person does in their free time is no tag where there is enough to say about their work."""
    found = tags("Tax accountant for farmers and small breweries. In her free time she enjoys rock climbing.")
    assert "taxation" in found
    assert "mountaineering" not in found


@pytest.mark.parametrize(
    ("bio", "named"),
    [
        (
            "Speleologist: snowmelt modelling and drought planning.",
            {"speleology", "snowmelt modeling", "drought planning"},
        ),
        ("Space lawyer\nLicences for launches.", {"space law"}),
        ("Kiln restorer\nI rebuild kilns.", {"kiln restoration"}),
        ("Phycologist\nAlgae of high lakes, and ecological surveys.", {"phycology", "ecology"}),
        ("I teach kites and know ropes.", {"kites", "ropes"}),
    ],
)
def test_fields_that_stand_in_no_vocabulary_are_taken_from_the_text(bio: str, named: set[str]) -> None:
    """A field, who works in it, and what a text declares."""
    assert named <= set(tags(bio))


@pytest.mark.parametrize(
    "bio",
    [
        "Bio coming soon.",
        "Mother of three, coffee addict and fan of Manchester United.",
        "I help people reach their full potential.",
        "Loves hill walking, cooking and jazz.",
        "Works at Harbour Energy, formerly at the Guild of Master Weavers.",
        "Люблю джаз и горы.",
        "喜歡旅行和咖啡",
        "Passionate about science, technology and innovation.",
        "Passionate about craft beer and mountain biking.",
        "Mother, novels, chess and two cats.",
        "Marathon runner, wine lover, traveller.",
        "Sits on the board of Scottish Opera.",
        "When she's not hiking, you will find her in the opera.",
        "在北京交通大学上学 爱摄影",
        "Visiteur du musée de l'Opéra et du coin.",
    ],
)
def test_what_the_text_does_not_support_is_not_said(bio: str) -> None:
    """Placeholders, hobbies, organisations and words that say nothing of a person give no tag."""
    assert tags(bio) == []


@pytest.mark.parametrize(
    ("bio", "expected"),
    [
        ("When not developing mobile applications he enjoys snowboarding and travel.", ["mobile development"]),
        ("Translator\nPharmaceutical dossiers. Lives near Kyoto.", ["translation", "pharmaceutical industry"]),
        ("Dad of three, mediocre guitarist, decent tax lawyer.", ["tax law"]),
        ("Arrivé au bon coin il y a un an, développeur Android de la feature team", ["android development"]),
        ("Ayuda a desarrollar science gateways en Python", ["python"]),
        ("I fly helicopters, and once I flew a grand piano onto the roof of a very old concert hall.", ["aviation"]),
        ("Studierte Philosophie, Ethnologie und Musik, heute Imkerin.", ["beekeeping"]),
        ("高能物理研究員", ["physics"]),
        ("Après des études de droit, je suis apicultrice.", ["beekeeping"]),
        ("Es licenciada en Filosofía y docente en la Universidad de Salta.", ["philosophy"]),
        ("Ingeniera informática en start-ups de Londres.", ["computer science"]),
        ("È docente di clarinetto alla scuola del paese.", ["music education"]),
        ("Licenciada en Derecho por la Universidad de Murcia.", ["law"]),
        ("Glaciologist\nMass balance modelling.", ["glaciology", "mass balance modeling"]),
    ],
)
def test_what_is_said_beside_gives_way_to_what_is_said_of_the_work(bio: str, expected: list[str]) -> None:
    """What a person is away from is work, what follows is none; other languages have other words."""
    assert tags(bio) == expected


def test_nothing_is_padded_with_what_is_broader() -> None:
    """One tag may be all; a broad one is given where there is nothing else, and parents where a schema wants more."""
    assert tags("Author\nBeekeeping for schools.") == ["beekeeping"]
    assert tags("Django") == ["django"]
    assert tags("Software engineer") == ["software development"]
    assert tags("Software engineer for Django") == ["django"]
    assert tags("Django", at_least=3) == ["django", "python", "web development"]


def test_an_enumeration_restricts_and_keeps_its_own_casing() -> None:
    """Aliases of allowed names count, other names do not, and unknown names are looked for as they stand."""
    allowed = ["Python", "LAW", "Nursing", "Underwater Basketry"]
    found = tags("A solicitor who does underwater basketry and Django.", allowed=allowed, at_least=2)
    assert sorted(found[:2]) == ["LAW", "Underwater Basketry"]
    assert tags("something else entirely", allowed=allowed) == []
    assert set(tags("something else entirely", allowed=allowed, at_least=3)) < set(allowed)
    assert tags("anything", allowed=[], at_least=3) == []
    assert tags("anything", allowed=["Law"], at_least=3) == ["Law"]


def test_markup_addresses_and_handles_are_no_evidence() -> None:
    """A link to a site about law makes no lawyer."""
    found = tags("<b class='nursing'>Potter</b> [me](https://law.example.com/opera) law@opera.org @chess www.jazz.com")
    assert found[0] == "pottery"
    assert not {"nursing", "law", "opera", "chess", "jazz"} & set(found)


def test_ambiguous_words_count_where_their_neighbours_vouch_for_them() -> None:
    """The same words are found where they do mean the domain; one word a thousand times is one tag."""
    for bio, right in (
        ("Backend developer (Go, Python)", "go"),
        ("I do statistics in R and Python.", "r"),
        ("Head Baker in a village", "baking"),
        ("nurse " * 1000 + "and lawyer", "nursing"),
    ):
        assert tags(bio).count(right) == 1
    assert tags(" \n") == []


@pytest.mark.full
def test_long_texts_have_tags_as_well() -> None:
    """A word of 40,000 characters, and patterns that trip naive expressions for hours."""
    for text in ("I teach law and nursing. " * 800, "w" * 40_000, "](" * 20_000, "<a " * 20_000, "." * 50_000):
        assert len(tags(text, at_least=3)) == 3
