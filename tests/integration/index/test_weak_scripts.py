"""Weak hits by script: entries in three languages, and questions with and without an answer."""

from typing import Any

import pytest

from askrows.pipeline.index.search import SearchSession, make_search_options
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
MEANINGLESS_QUESTIONS = [
    "怎么修理漏水的马桶",
    "附近哪里可以停车",
    "昨天的足球比分是多少",
    "如何申请护照",
    "感冒了要吃什么药",
    "火锅底料怎么做",
    "孩子不睡觉怎么办",
    "明天会下雨吗",
    "手机屏幕碎了",
    "歯が痛いときはどうする",
    "自転車の鍵をなくした",
    "明日の天気は",
    "ラーメンのスープの作り方",
    "靴のサイズの測り方",
]
PEOPLE: dict[str, dict[str, Any]] = {
    f"person-{column}-{number}": {"bio": topic[column], "tags": '["work"]'}
    for number, topic in enumerate(TOPICS)
    for column in (0, 2, 4)
}
MAX_WEAK_SHARE = 0.1
MAX_SURE_SHARE = 0.25


@pytest.mark.full
def test_questions_are_weak_only_without_an_answer(indexed: Workspace) -> None:
    """Few questions with an answer are weak, in any language, and few others are not."""
    options = make_search_options(3)
    with indexed.open() as ws, SearchSession(ws.workspace, ws.service, ws.task) as session:
        for column in (1, 3, 5):
            weak_count = sum(session.search(topic[column], options).is_weak for topic in TOPICS)
            assert weak_count <= MAX_WEAK_SHARE * len(TOPICS)

        sure_count = sum(
            not session.search(question, options).is_weak for question in MEANINGLESS_QUESTIONS
        )
        assert sure_count <= MAX_SURE_SHARE * len(MEANINGLESS_QUESTIONS)
