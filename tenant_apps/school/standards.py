"""What a value must be, whoever writes it: codes from standards, and days that can be meant."""

import re
from datetime import date

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from shared_apps.core.clock import local_date

# ISO 4217, active codes of money in circulation (list one, without funds, metals and test codes).
CURRENCY_CODES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG "
    "HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA "
    "MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD "
    "RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX "
    "USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
CURRENCIES = frozenset(CURRENCY_CODES.split())

country_code = RegexValidator(re.compile(r"\A[A-Z]{2}\Z"), "Use the two capital letters of ISO 3166-1, such as FR.")


def currency_code(value: str) -> None:
    """Refuses what is not an ISO 4217 code."""
    if value not in CURRENCIES:
        raise ValidationError("%(value)s is not a currency of ISO 4217, such as EUR.", params={"value": value})


# Nobody who learns or works today was born before; a day outside of these is a slip of the pen, or a system's "never".
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)


def plausible_day(value: date) -> None:
    """Refuses a day on which nobody here joins, leaves or works."""
    if not FIRST_DAY <= value <= LAST_DAY:
        raise ValidationError(f"The day must lie between {FIRST_DAY} and {LAST_DAY}.", "implausible_day")


def possible_birth_date(value: date) -> None:
    """Refuses a day before 1900, or after today at the institution. A batch asks for today once."""
    if value < FIRST_DAY:
        raise ValidationError(f"Nobody here was born before {FIRST_DAY}.", "implausible_day")
    if value > local_date():
        raise ValidationError("A birth date does not lie in the future.", "in_future")
