"""Words that state a number, a month or a negation, in the languages whose words search knows, all in one.

They are folded as words are compared: without case. A word that means a number in one language and something frequent
in another one is left out, for what it stands for differs in other words, too. Scripts without capitals need none.
"""

from collections.abc import Mapping

NEGATIONS: Mapping[str, str] = {
    "en": "no not non none nor neither never nobody nothing nowhere cannot without unless hardly scarcely barely isnt "
    "arent wasnt werent dont doesnt didnt cant wont couldnt wouldnt shouldnt mustnt neednt havent hasnt hadnt",
    "da": "ikke ej ingen intet aldrig hverken uden næppe umuligt",
    "de": "nicht nichts nie niemals niemand niemandem niemanden nirgends nirgendwo kein keine keinem keinen keiner "
    "keines keinerlei keineswegs weder ohne kaum nein",
    "es": "no nunca jamás nada nadie ningún ninguno ninguna ningunos ningunas tampoco ni sin",
    "fr": "ne pas jamais rien aucun aucune aucunement nul nulle nullement ni guère personne non sans",
    "it": "non mai niente nulla nessun nessuno nessuna né neppure neanche nemmeno senza no",
    "nl": "niet niets nooit niemand nergens geen noch zonder nauwelijks nee",
    "no": "ikke ikkje ingen intet ingenting aldri verken uten utan neppe nei",
    "pt": "não nunca jamais nada ninguém nenhum nenhuma nenhuns nenhumas nem sem tampouco",
    "ru": "не нет ни никогда никто никого никому ничто ничего ничем нигде никуда никак никакой никакая никакое никакие "
    "никаких никакого нельзя без вряд едва",
    "sv": "inte icke ej ingen inget inga ingenting aldrig varken utan knappast",
}
NEGATIVE_PREFIXES = "un in im il ir non dis mis anti an on des o u не без бес анти"  # noqa: RUF001 - some are Russian
NEGATIVE_SUFFIXES = "less free los lose losen loser loses frei vrij løs löst lös fri"
POSITIVE_SUFFIXES = "ful voll vol full fuld"

NUMBERS: Mapping[str, str] = {
    "0": "zero null nul cero zéro ноль нуль noll",
    "1": "one ein eine einem einen einer eines un une uno una uma een één один одна одно одного одной",
    "2": "two zwei twee deux dos dois duas два две двух двум två both beide beiden ambos entrambi оба обе",  # noqa: RUF001 - they are Russian
    "3": "three drei drie trois tres três tre три трех трёх трем трём",
    "4": "four vier quatre cuatro quattro quatro четыре четырех четырёх fyra",
    "5": "five fünf vijf cinq cinco cinque пять пяти fem",
    "6": "six sechs zes seis шесть шести seks sex",
    "7": "seven sieben zeven siete sette sete семь семи syv sju",
    "8": "eight acht huit ocho otto oito восемь восьми otte åtte åtta",
    "9": "nine neun negen neuf nueve nove девять девяти nio",
    "10": "ten zehn tien dix diez dieci dez десять десяти tio",
    "11": "eleven elf onze undici одиннадцать elleve elva",
    "12": "twelve zwölf twaalf douze doce dodici doze двенадцать tolv",
    "13": "thirteen dreizehn dertien treize trece tredici treze тринадцать tretten tretton",
    "14": "fourteen vierzehn veertien quatorze catorce quattordici catorze четырнадцать fjorten fjorton",
    "15": "fifteen fünfzehn vijftien quinze quince quindici пятнадцать femten femton",
    "16": "sixteen sechzehn zestien seize dieciséis sedici dezesseis шестнадцать seksten sexton",
    "17": "seventeen siebzehn zeventien diecisiete diciassette dezessete семнадцать sytten sjutton",
    "18": "eighteen achtzehn achttien dieciocho diciotto dezoito восемнадцать atten arton",
    "19": "nineteen neunzehn negentien diecinueve diciannove dezenove девятнадцать nitten nitton",
    "20": "twenty zwanzig twintig vingt veinte venti vinte двадцать двадцати tyve tjue tjugo",
    "30": "thirty dreißig dreissig dertig trente treinta trenta trinta тридцать тридцати tredive tretti trettio",
    "40": "forty vierzig veertig quarante cuarenta quaranta quarenta сорок сорока fyrre førti fyrtio",
    "50": "fifty fünfzig vijftig cinquante cincuenta cinquanta cinquenta пятьдесят halvtreds femti femtio",
    "60": "sixty sechzig zestig soixante sesenta sessanta sessenta шестьдесят seksti sextio",
    "70": "seventy siebzig zeventig septante setenta settanta семьдесят halvfjerds sytti sjuttio",
    "80": "eighty achtzig tachtig octante ochenta ottanta oitenta восемьдесят firs åtti åttio",
    "90": "ninety neunzig negentig nonante noventa novanta девяносто halvfems nitti nittio",
    "100": "hundred hundreds hundert honderd cent cents cien ciento cento cem сто ста hundre hundrede hundra",
    "1000": "thousand thousands tausend duizend mille mil тысяча тысячи тысяч tusind tusen",
    "1000000": "million millions millionen miljoen millón millones milione milioni milhão milhões миллион миллиона "
    "миллионов millioner miljon miljoner",
    "1000000000": "billion billions milliarde milliarden miljard milliard milliards миллиард миллиарда миллиардов "
    "milliarder miljarder",
    "1/2": "half halves hälfte halb halbe halben helft demi moitié mitad medio media metà mezzo metade половина "
    "половины halvdelen hälften halv halva",
    "1/4": "quarter quarters viertel kwart quart quarts cuarto четверть",
    "1st": "first erste ersten erster eerste premier première primero primera primo prima primeiro primeira первый "
    "первая første första",
    "2nd": "second zweite zweiten zweiter tweede deuxième seconde segundo segunda secondo seconda второй вторая anden "
    "andre andra",
    "3rd": "third thirds dritte dritten dritter drittel derde troisième tiers tercero tercera tercio terzo terza "
    "terceiro terceira третий третья tredje",
    "4th": "fourth vierte vierten vierde quatrième quarto четвертый четвёртый fjerde fjärde",
    "5th": "fifth fünfte fünften vijfde cinquième quinto пятый femte",
    "*1": "once einmal eenmaal",
    "*2": "twice double doppelt zweimal tweemaal doble doppio dobro dobbelt dubbelt",
    "*3": "thrice triple dreimal трижды",
    "dozen": "dozen dozens dutzend dozijn douzaine docena dozzina dúzia dusin дюжина",
}
MONTHS: Mapping[int, str] = {
    1: "january jan januar jänner januari janvier janv enero ene gennaio gen janeiro января январь янв",
    2: "february feb februar februari février févr fév febrero febbraio fevereiro fev февраля февраль фев",
    3: "march mar märz mrz maart mrt mars marzo março марта март мар",
    4: "april apr avril avr abril abr aprile апреля апрель апр",
    5: "may mai mei mayo maggio maio maj мая май",
    6: "june jun juni juin junio giugno giu junho июня июнь июн",
    7: "july jul juli juillet juil julio luglio lug julho июля июль июл",
    8: "august aug augustus août aou agosto августа август авг augusti",
    9: "september sep sept septembre septiembre settembre setembro сентября сентябрь сен сент",
    10: "october oct oktober okt octobre octubre ottobre ott outubro октября октябрь окт",
    11: "november nov novembre noviembre novembro ноября ноябрь ноя",
    12: "december dec dezember dez décembre déc diciembre dic dicembre dezembro декабря декабрь дек desember",
}
