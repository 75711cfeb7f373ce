"""Names and signs of currencies: which code they stand for, where they stand for one alone."""

import re

# Active codes of ISO 4217 (amendment 176 of 2024), without funds, metals and test codes (so XXX and XAU are unknown)
_CODES = frozenset(
    re.findall(
        r"[A-Z]{3}",
        """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
        """,
    )
)

# Signs and names with one meaning in use, case folded
_NAMES = {
    "us$": "USD", "usd$": "USD", "us dollar": "USD", "us dollars": "USD",
    "€": "EUR", "euro": "EUR", "euros": "EUR",
    "£": "GBP", "sterling": "GBP", "pound sterling": "GBP", "pounds sterling": "GBP",
    "c$": "CAD", "ca$": "CAD", "cad$": "CAD", "canadian dollar": "CAD", "canadian dollars": "CAD",
    "a$": "AUD", "au$": "AUD", "aud$": "AUD", "australian dollar": "AUD", "australian dollars": "AUD",
    "nz$": "NZD", "hk$": "HKD", "s$": "SGD", "sg$": "SGD", "nt$": "TWD", "mx$": "MXN", "r$": "BRL",
    "₹": "INR", "indian rupee": "INR", "indian rupees": "INR",
    "yen": "JPY", "円": "JPY", "rmb": "CNY", "yuan": "CNY", "renminbi": "CNY", "元": "CNY",
    "₩": "KRW", "₽": "RUB", "₴": "UAH", "₺": "TRY", "₪": "ILS", "₫": "VND", "฿": "THB", "₱": "PHP", "₦": "NGN",
    "zł": "PLN", "kč": "CZK", "sfr": "CHF", "sfr.": "CHF", "swiss franc": "CHF", "swiss francs": "CHF",
}  # fmt: skip

_DOLLARS = frozenset(
    {"AUD", "BBD", "BMD", "BND", "BSD", "BZD", "CAD", "FJD", "GYD", "HKD", "JMD", "KYD", "LRD", "NAD", "NZD", "SBD"}
    | {"SGD", "SRD", "TTD", "TWD", "USD", "XCD"}
)
_PESOS = frozenset({"ARS", "CLP", "COP", "CUP", "DOP", "MXN", "PHP", "UYU"})
_RUPEES = frozenset({"INR", "LKR", "MUR", "NPR", "PKR", "SCR"})
_POUNDS = frozenset({"EGP", "FKP", "GBP", "GIP", "LBP", "SDG", "SHP", "SSP", "SYP"})
_FRANCS = frozenset({"CHF", "XAF", "XOF", "XPF"})
_CROWNS = frozenset({"CZK", "DKK", "ISK", "NOK", "SEK"})

# Signs and names that several currencies share, case folded -> the codes they may stand for
_SHARED = {
    "$": _DOLLARS | _PESOS, "dollar": _DOLLARS, "dollars": _DOLLARS,
    "¥": frozenset({"CNY", "JPY"}),
    "rs": _RUPEES, "rs.": _RUPEES, "rupee": _RUPEES, "rupees": _RUPEES,
    "peso": _PESOS, "pesos": _PESOS, "pound": _POUNDS, "pounds": _POUNDS,
    "kr": _CROWNS, "kr.": _CROWNS, "franc": _FRANCS, "francs": _FRANCS,
}  # fmt: skip


def code_of(text: str) -> str | None:
    """Return the ISO 4217 code that a code, sign or name stands for alone; None when it is unknown or shared."""
    name = " ".join(text.split())
    upper = name.upper()
    return upper if upper in _CODES else _NAMES.get(name.casefold())


def shared_by(text: str) -> frozenset[str]:
    """Return the codes of the currencies that share a sign or name; empty when it is not shared."""
    return _SHARED.get(" ".join(text.split()).casefold(), frozenset())
