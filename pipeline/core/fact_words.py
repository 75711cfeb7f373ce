"""Words that state a number, a month or a negation, in the languages whose words search knows, all in one.

They are folded as words are compared: without case. A word that means a number in one language and something frequent
in another one is left out, for what it stands for differs in other words, too. Scripts without capitals need none.
"""
# ruff: noqa: RUF001 - some are Russian

NEGATIONS = (
    "no not non none nor neither never nobody nothing nowhere cannot without unless hardly scarcely barely isnt arent "
    "wasnt werent dont doesnt didnt cant wont couldnt wouldnt shouldnt mustnt neednt havent hasnt hadnt ikke ej ingen "
    "intet aldrig hverken uden næppe umuligt nicht nichts nie niemals niemand niemandem niemanden nirgends nirgendwo "
    "kein keine keinem keinen keiner keines keinerlei keineswegs weder ohne kaum nein nunca jamás nada nadie ningún "
    "ninguno ninguna ningunos ningunas tampoco ni sin ne pas jamais rien aucun aucune aucunement nul nulle nullement "
    "guère personne sans mai niente nulla nessun nessuno nessuna né neppure neanche nemmeno senza niet niets nooit "
    "nergens geen noch zonder nauwelijks nee ikkje ingenting aldri verken uten utan neppe nei não ninguém nenhum "
    "nenhuma nenhuns nenhumas nem sem tampouco не нет ни никогда никто никого никому ничто ничего ничем нигде никуда "
    "никак никакой никакая никакое никакие никаких никакого нельзя без вряд едва inte icke inget inga varken knappast"
)
NEGATIVE_PREFIXES = "un in im il ir non dis mis anti an on des o u не без бес анти"
NEGATIVE_SUFFIXES = "less free los lose losen loser loses frei vrij løs löst lös fri"
POSITIVE_SUFFIXES = "ful voll vol full fuld"
NUMBERS = (
    "zero null nul cero zéro ноль нуль noll one ein eine einem einen einer eines un une uno una uma een één один одна "
    "одно одного одной two zwei twee deux dos dois duas два две двух двум två both beide beiden ambos entrambi оба "
    "обе three drei drie trois tres três tre три трех трёх трем трём four vier quatre cuatro quattro quatro четыре "
    "четырех четырёх fyra five fünf vijf cinq cinco cinque пять пяти fem six sechs zes seis шесть шести seks sex "
    "seven sieben zeven siete sette sete семь семи syv sju eight acht huit ocho otto oito восемь восьми otte åtte "
    "åtta nine neun negen neuf nueve nove девять девяти nio ten zehn tien dix diez dieci dez десять десяти tio eleven "
    "elf onze undici одиннадцать elleve elva twelve zwölf twaalf douze doce dodici doze двенадцать tolv thirteen "
    "dreizehn dertien treize trece tredici treze тринадцать tretten tretton fourteen vierzehn veertien quatorze "
    "catorce quattordici catorze четырнадцать fjorten fjorton fifteen fünfzehn vijftien quinze quince quindici "
    "пятнадцать femten femton sixteen sechzehn zestien seize dieciséis sedici dezesseis шестнадцать seksten sexton "
    "seventeen siebzehn zeventien diecisiete diciassette dezessete семнадцать sytten sjutton eighteen achtzehn "
    "achttien dieciocho diciotto dezoito восемнадцать atten arton nineteen neunzehn negentien diecinueve diciannove "
    "dezenove девятнадцать nitten nitton twenty zwanzig twintig vingt veinte venti vinte двадцать двадцати tyve tjue "
    "tjugo thirty dreißig dreissig dertig trente treinta trenta trinta тридцать тридцати tredive tretti trettio forty "
    "vierzig veertig quarante cuarenta quaranta quarenta сорок сорока fyrre førti fyrtio fifty fünfzig vijftig "
    "cinquante cincuenta cinquanta cinquenta пятьдесят halvtreds femti femtio sixty sechzig zestig soixante sesenta "
    "sessanta sessenta шестьдесят seksti sextio seventy siebzig zeventig septante setenta settanta семьдесят "
    "halvfjerds sytti sjuttio eighty achtzig tachtig octante ochenta ottanta oitenta восемьдесят firs åtti åttio "
    "ninety neunzig negentig nonante noventa novanta девяносто halvfems nitti nittio hundred hundreds hundert honderd "
    "cent cents cien ciento cento cem сто ста hundre hundrede hundra thousand thousands tausend duizend mille mil "
    "тысяча тысячи тысяч tusind tusen million millions millionen miljoen millón millones milione milioni milhão "
    "milhões миллион миллиона миллионов millioner miljon miljoner billion billions milliarde milliarden miljard "
    "milliard milliards миллиард миллиарда миллиардов milliarder miljarder half halves hälfte halb halbe halben helft "
    "demi moitié mitad medio media metà mezzo metade половина половины halvdelen hälften halv halva quarter quarters "
    "viertel kwart quart quarts cuarto четверть first erste ersten erster eerste premier première primero primera "
    "primo prima primeiro primeira первый первая første första second zweite zweiten zweiter tweede deuxième seconde "
    "segundo segunda secondo seconda второй вторая anden andre andra third thirds dritte dritten dritter drittel "
    "derde troisième tiers tercero tercera tercio terzo terza terceiro terceira третий третья tredje fourth vierte "
    "vierten vierde quatrième quarto четвертый четвёртый fjerde fjärde fifth fünfte fünften vijfde cinquième quinto "
    "пятый femte once einmal eenmaal twice double doppelt zweimal tweemaal doble doppio dobro dobbelt dubbelt thrice "
    "triple dreimal трижды dozen dozens dutzend dozijn douzaine docena dozzina dúzia dusin дюжина"
)
MONTHS = (
    "january jan januar jänner januari janvier janv enero ene gennaio gen janeiro января январь янв february feb "
    "februar februari février févr fév febrero febbraio fevereiro fev февраля февраль фев march mar märz mrz maart "
    "mrt mars marzo março марта март мар april apr avril avr abril abr aprile апреля апрель апр may mai mei mayo "
    "maggio maio maj мая май june jun juni juin junio giugno giu junho июня июнь июн july jul juli juillet juil julio "
    "luglio lug julho июля июль июл august aug augustus août aou agosto августа август авг augusti september sep sept "
    "septembre septiembre settembre setembro сентября сентябрь сен сент october oct oktober okt octobre octubre "
    "ottobre ott outubro октября октябрь окт november nov novembre noviembre novembro ноября ноябрь ноя december dec "
    "dezember dez décembre déc diciembre dic dicembre dezembro декабря декабрь дек desember"
)
