"""Questions that no entry of any collection answers, by script; no build learns from them."""

from itertools import product

# Beginnings and ends of questions: each beginning is asked with each end.
_HALVES = {
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


def list_meaningless_questions(script: str) -> list[str]:
    """Return the questions of a script, at least 60."""
    questions = []
    for halves in _HALVES[script]:
        beginnings, ends = zip(*halves, strict=True)
        questions += [" ".join(pair) for pair in product(beginnings, ends)]
    return questions
