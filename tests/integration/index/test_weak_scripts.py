"""Weak hits by script: entries in five languages, and questions with and without an answer."""

# ruff: noqa: RUF001 - the texts are in many alphabets

from collections.abc import Sequence
from itertools import chain, product
from typing import Any

import pytest

from askrows.pipeline.core import tokenizer
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.index.search import SearchSession, make_search_options
from askrows.pipeline.index.write import load_meaningless_queries
from tests.lab import Workspace

# Bios and questions about them: English, French and Chinese.
TOPICS = [
    (
        "I keep bees on the roof of the old library and sell their honey",
        "who keeps bees?",
        "apiculteur, je récolte le miel de mes ruches en montagne",
        "qui élève des abeilles et récolte du miel ?",
        "我在山上养蜂,出售自己的蜂蜜",
        "谁会养蜂",
    ),
    (
        "I bake rye bread in a wood oven",
        "someone who bakes rye bread",
        "je fais du pain au levain dans un four à bois",
        "boulanger pour du pain au levain",
        "我用柴火窑烤黑麦面包",
        "谁会烤黑麦面包",
    ),
    (
        "I restore wooden boats and carve oars",
        "restore a wooden boat",
        "je répare des bateaux en bois au port de pêche",
        "réparation de bateaux en bois",
        "我修理木船,也做船桨",
        "修理木船的师傅",
    ),
    (
        "I teach water law and river rights to towns",
        "water law advice",
        "avocate en droit de l'eau pour les communes",
        "conseil en droit de l'eau",
        "我研究水法,为村镇提供咨询",
        "懂水法的律师",
    ),
    (
        "I repair tower clocks and watches",
        "repair of an old clock",
        "horloger, je répare les pendules anciennes",
        "réparer une pendule ancienne",
        "我修理钟表和座钟",
        "修理老座钟",
    ),
    (
        "I interpret sign language at hospitals",
        "sign language interpreter",
        "interprète en langue des signes dans les hôpitaux",
        "interprète en langue des signes",
        "我在医院做手语翻译",
        "手语翻译",
    ),
    (
        "I teach children mathematics with games",
        "mathematics for children",
        "j'enseigne les mathématiques aux enfants par le jeu",
        "cours de mathématiques pour enfants",
        "我用游戏教孩子数学",
        "教孩子数学",
    ),
    (
        "I grow roses and prune apple trees",
        "pruning apple trees",
        "je taille les pommiers et je cultive des roses",
        "tailler des pommiers",
        "我种玫瑰,修剪苹果树",
        "修剪苹果树",
    ),
    (
        "I build radio telescopes from scrap",
        "radio telescope",
        "je construis des radiotélescopes",
        "construire un radiotélescope",
        "我制造射电望远镜",
        "射电望远镜",
    ),
    (
        "I blow glass and make lamps",
        "glass blowing",
        "souffleur de verre, je fais des lampes",
        "souffleur de verre",
        "我吹制玻璃灯具",
        "吹制玻璃",
    ),
    (
        "I spin and dye wool from our sheep",
        "dyeing wool",
        "je file et teins la laine de nos moutons",
        "teinture de la laine",
        "我纺羊毛并染色",
        "羊毛染色",
    ),
    (
        "I sing opera and coach voices",
        "opera singing lessons",
        "chanteuse d'opéra, je donne des cours de chant",
        "cours de chant d'opéra",
        "我唱歌剧,教声乐",
        "学唱歌剧",
    ),
    (
        "I forecast avalanches in the mountains",
        "avalanche forecast",
        "je prévois les avalanches dans les Alpes",
        "prévision des avalanches",
        "我预测山区的雪崩",
        "雪崩预测",
    ),
    (
        "I draw maps of caves and tunnels",
        "maps of caves",
        "je dessine des cartes de grottes",
        "carte des grottes",
        "我绘制洞穴地图",
        "绘制洞穴地图",
    ),
    (
        "I make goat cheese on a farm",
        "goat cheese",
        "je fabrique du fromage de chèvre à la ferme",
        "fromage de chèvre",
        "我在农场做山羊奶酪",
        "山羊奶酪",
    ),
    (
        "I ring migrating birds on the coast",
        "migrating birds",
        "je bague les oiseaux migrateurs sur la côte",
        "oiseaux migrateurs",
        "我研究候鸟迁徙",
        "候鸟迁徙",
    ),
    (
        "I restore old books and make paper",
        "restoring old books",
        "je restaure des livres anciens",
        "restaurer des livres anciens",
        "我修复古籍,手工造纸",
        "修复古籍",
    ),
    (
        "I install solar panels on barns",
        "solar panels",
        "j'installe des panneaux solaires sur les granges",
        "panneaux solaires",
        "我安装太阳能板",
        "安装太阳能板",
    ),
    (
        "I taste and blend tea",
        "tea tasting",
        "je déguste et assemble des thés",
        "dégustation de thé",
        "我品茶,也拼配茶叶",
        "品茶",
    ),
    (
        "I carve stone fountains",
        "stone carving",
        "tailleur de pierre, je sculpte des fontaines",
        "tailleur de pierre",
        "我雕刻石头喷泉",
        "石雕师傅",
    ),
]
# The same in Russian and Greek.
MORE_TOPICS = [
    (
        "Держу пчёл в горах и продаю мёд",
        "кто держит пчёл и продаёт мёд",
        "Έχω μελίσσια στο βουνό και πουλάω μέλι",
        "ποιος έχει μελίσσια και μέλι",
    ),
    (
        "Пеку ржаной хлеб в дровяной печи",
        "пекарь ржаного хлеба",
        "Ψήνω ψωμί σίκαλης σε ξυλόφουρνο",
        "ψωμί σίκαλης σε ξυλόφουρνο",
    ),
    (
        "Чиню деревянные лодки и режу вёсла",
        "починить деревянную лодку",
        "Επισκευάζω ξύλινες βάρκες στο λιμάνι",
        "επισκευή ξύλινης βάρκας",
    ),
    (
        "Консультирую города по водному праву",
        "совет по водному праву",
        "Διδάσκω δίκαιο των υδάτων σε δήμους",
        "δίκαιο των υδάτων",
    ),
    (
        "Ремонтирую башенные часы и будильники",
        "ремонт старых часов",
        "Διορθώνω παλιά ρολόγια τοίχου",
        "διορθώνω παλιό ρολόι τοίχου",
    ),
    (
        "Перевожу на жестовый язык в больницах",
        "переводчик жестового языка",
        "Διερμηνέας νοηματικής γλώσσας σε νοσοκομεία",
        "διερμηνέας νοηματικής γλώσσας",
    ),
    (
        "Учу детей математике через игры",
        "математика для детей",
        "Διδάσκω μαθηματικά σε παιδιά με παιχνίδια",
        "μαθηματικά σε παιδιά",
    ),
    (
        "Выращиваю розы и обрезаю яблони",
        "обрезка яблонь",
        "Καλλιεργώ τριαντάφυλλα και κλαδεύω μηλιές",
        "ποιος κλαδεύει μηλιές",
    ),
    (
        "Строю радиотелескопы из старых деталей",
        "радиотелескопы",
        "Φτιάχνω ραδιοτηλεσκόπια από παλιά εξαρτήματα",
        "ραδιοτηλεσκόπια",
    ),
    (
        "Выдуваю стекло и делаю лампы",
        "кто выдувает стекло",
        "Φυσάω γυαλί και φτιάχνω λάμπες",
        "φυσητό γυαλί λάμπες",
    ),
    (
        "Пряду и крашу шерсть наших овец",
        "покрасить шерсть",
        "Γνέθω και βάφω μαλλί από τα πρόβατά μας",
        "βαφή μαλλί πρόβατα",
    ),
    (
        "Пою в опере и ставлю голос",
        "уроки пения для оперы",
        "Τραγουδώ όπερα και κάνω μαθήματα φωνητικής",
        "μαθήματα φωνητικής όπερα",
    ),
    (
        "Прогнозирую лавины на Кавказе",
        "прогноз лавин",
        "Προβλέπω χιονοστιβάδες στα βουνά",
        "χιονοστιβάδες στα βουνά",
    ),
    (
        "Рисую карты пещер и тоннелей",
        "карты пещер",
        "Σχεδιάζω χάρτες σπηλαίων",
        "χάρτες σπηλαίων",
    ),
    (
        "Варю козий сыр на ферме",
        "козий сыр",
        "Φτιάχνω κατσικίσιο τυρί στη φάρμα",
        "κατσικίσιο τυρί",
    ),
    (
        "Кольцую перелётных птиц на побережье",
        "перелётные птицы",
        "Δακτυλιώνω αποδημητικά πουλιά στην ακτή",
        "αποδημητικά πουλιά",
    ),
    (
        "Реставрирую старинные книги и делаю бумагу",
        "реставрация старинных книг",
        "Συντηρώ παλιά βιβλία και φτιάχνω χαρτί",
        "συντήρηση παλιά βιβλία",
    ),
    (
        "Ставлю солнечные панели на сараи",
        "солнечные панели",
        "Τοποθετώ ηλιακά πάνελ σε αχυρώνες",
        "ηλιακά πάνελ",
    ),
    (
        "Дегустирую и смешиваю чай",
        "дегустация чая",
        "Δοκιμάζω και αναμειγνύω τσάι",
        "δοκιμάζω τσάι",
    ),
    (
        "Высекаю каменные фонтаны",
        "каменные фонтаны",
        "Σκαλίζω πέτρινα σιντριβάνια",
        "πέτρινα σιντριβάνια",
    ),
]
PEOPLE: dict[str, dict[str, Any]] = {
    f"person-{column}-{number}": {"bio": bio, "tags": '["work"]'}
    for number, topic in enumerate(zip(TOPICS, MORE_TOPICS, strict=True))
    for column, bio in enumerate(chain.from_iterable(texts[::2] for texts in topic))
}
PEOPLE["initials"] = {"bio": "I signed plan K in room Z", "tags": '["work"]'}
QUESTIONS = {
    "latin": [topic[column] for topic in TOPICS for column in (1, 3)],
    "unspaced": [topic[5] for topic in TOPICS],
    "cyrillic": [topic[1] for topic in MORE_TOPICS],
    "other": [topic[3] for topic in MORE_TOPICS],
}
# Beginnings and ends of questions that no entry answers, by script: each beginning is asked with
# each end. No build learns from them.
MEANINGLESS_HALVES = {
    "latin": (
        (
            ("how do I mend", "a yellow umbrella"),
            ("what does it cost to send home", "a soft pretzel"),
            ("my aunt lost", "the left glove"),
            ("where did they hide", "a paper lantern"),
        ),
        (
            ("comment plier", "un parapluie jaune"),
            ("combien coûte", "une housse de couette"),
            ("ma tante a perdu", "le gant gauche"),
            ("qui a mangé", "une crêpe au sucre"),
        ),
        (
            ("wie faltet man", "einen gelben Regenschirm"),
            ("was kostet", "ein Spannbettlaken"),
            ("meine Tante verlor", "den linken Handschuh"),
            ("wer hat versteckt", "eine weiche Brezel"),
        ),
        (
            ("cómo se dobla", "un paraguas amarillo"),
            ("cuánto cuesta", "una sábana bajera"),
            ("mi tía perdió", "el guante izquierdo"),
            ("quién se comió", "un churro frío"),
        ),
    ),
    "cyrillic": (
        (
            ("как сложить", "розовый зонт"),
            ("сколько стоит", "надувной матрас"),
            ("тётя потеряла", "левую перчатку"),
            ("кто спрятал", "солёный крендель"),
            ("куда делся", "бумажный фонарик"),
            ("зачем утюжить", "полосатый носок"),
            ("чем накрыть", "остывший пирог"),
            ("почему упал", "цветочный горшок"),
        ),
    ),
    "unspaced": (
        (
            ("怎么折", "粉色雨伞"),
            ("多少钱一个", "充气床垫"),
            ("姑姑丢了", "左手手套"),
            ("谁藏了", "咸味饼干"),
            ("为什么掉了", "纸灯笼"),
            ("哪天能晒", "条纹袜子"),
        ),
        (
            ("どうやって畳むの", "ピンクの傘"),
            ("いくらですか", "空気マット"),
            ("おばがなくした", "左の手袋"),
            ("だれが食べた", "冷めたパイ"),
        ),
        (
            ("어떻게 접나요", "분홍 우산"),
            ("얼마예요", "공기 매트"),
            ("이모가 잃어버린", "왼쪽 장갑"),
            ("누가 먹었나요", "식은 만두"),
        ),
    ),
    "other": (
        (
            ("πώς διπλώνεται", "η ροζ ομπρέλα"),
            ("πόσο κάνει", "ένα φουσκωτό στρώμα"),
            ("η θεία έχασε", "το αριστερό γάντι"),
            ("ποιος έφαγε", "το κρύο κουλούρι"),
        ),
        (
            ("كيف أطوي", "المظلة الوردية"),
            ("كم سعر", "الفراش المنفوخ"),
            ("خالتي أضاعت", "القفاز الأيسر"),
            ("من أكل", "الفطيرة الباردة"),
        ),
        (
            ("איך מקפלים", "את המטרייה הוורודה"),
            ("כמה עולה", "המזרן המתנפח"),
            ("דודה איבדה", "את הכפפה השמאלית"),
            ("מי אכל", "את הבייגלה הקר"),
        ),
        (
            ("कैसे मोड़ें", "गुलाबी छतरी"),
            ("कितने का है", "हवा वाला गद्दा"),
            ("मौसी ने खोया", "बायाँ दस्ताना"),
            ("किसने खाया", "ठंडी कचौड़ी"),
        ),
    ),
}
MAX_WEAK_SHARE = 0.1
MIN_MEANINGLESS_WEAK_SHARE = 0.9
MIN_MEANINGLESS_QUESTIONS = 60


def list_meaningless_questions(script: str) -> list[str]:
    """Return the questions of a script, at least 60."""
    questions = []
    for halves in MEANINGLESS_HALVES[script]:
        beginnings, ends = zip(*halves, strict=True)
        questions += [" ".join(pair) for pair in product(beginnings, ends)]
    return questions


@pytest.mark.full
@pytest.mark.parametrize("script", tokenizer.SCRIPTS)
def test_questions_are_weak_only_without_an_answer(indexed: Workspace, script: str) -> None:
    """Few questions with an answer are weak, in any script, and nearly all others are."""
    meaningless_questions = list_meaningless_questions(script)
    learned_questions = load_meaningless_queries()
    assert len(meaningless_questions) >= MIN_MEANINGLESS_QUESTIONS
    assert set(meaningless_questions).isdisjoint(learned_questions)
    assert sum(tokenizer.find_script(question) == script for question in learned_questions) >= 60

    with indexed.open() as ws, SearchSession(ws.workspace, ws.service, ws.task) as session:

        def measure_weak_share(questions: Sequence[str]) -> float:
            """Return the share of questions whose hits are all weak."""
            reports = [session.search(question, make_search_options()) for question in questions]
            return sum(report.is_weak for report in reports) / len(questions)

        assert measure_weak_share(QUESTIONS[script]) <= MAX_WEAK_SHARE
        assert measure_weak_share(meaningless_questions) >= MIN_MEANINGLESS_WEAK_SHARE


def test_a_better_hit_is_never_weaker(indexed: Workspace) -> None:
    """A hit above a hit that is not weak is not weak, under every rank."""
    with indexed.open() as ws, SearchSession(ws.workspace, ws.service, ws.task) as session:
        for question in chain.from_iterable(QUESTIONS.values()):
            for rank in RankMode:
                hits = session.search(question, make_search_options(rank=rank)).hits
                weak_flags = [bool(hit.is_weak) for hit in hits]
                assert weak_flags == sorted(weak_flags), (question, rank)


def test_single_characters_make_no_hit_sure(indexed: Workspace) -> None:
    """A question is weak if its hits share only single characters with it."""
    with indexed.open() as ws, SearchSession(ws.workspace, ws.service, ws.task) as session:
        assert session.search("k z", make_search_options(rank="words")).is_weak
