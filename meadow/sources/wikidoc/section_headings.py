"""Headings of the living textbook to questions: a rule for each common one, and none for the rest.

WikiDoc gives its chapters fixed names (Overview, Causes, Risk Factors, History and Symptoms, CT
...), as pages of their own ("Asthma risk factors") or as sections. A heading that is a question
already stands as it is. Headings without a rule are left to the optional rewriting step.
"""

from __future__ import annotations

import re

from meadow.sources.wikidoc.headings import tidy_question, topic_of_title

_RULES: dict[str, str] = {
    "": "What is {topic}?",
    "overview|introduction|definition|general": "What is {topic}?",
    "background": "What is the background of {topic}?",
    "historical perspective|discovery|eponym": "What is the historical perspective on {topic}?",
    "classification|types|subtypes|staging": "How is {topic} classified?",
    "grading": "How is {topic} graded?",
    "pathophysiology|mechanism|mechanisms|pathogenesis|molecular biology": (
        "What is the pathophysiology of {topic}?"
    ),
    "genetics|genetic basis": "What is the role of genetics in {topic}?",
    "microscopic pathology|histology|histopathology|microscopic findings": (
        "What are the microscopic findings in {topic}?"
    ),
    "gross pathology": "What are the gross pathological findings in {topic}?",
    "associated conditions|associated diseases": "Which conditions are associated with {topic}?",
    "causes|cause|etiology|aetiology|common causes": "What causes {topic}?",
    "life[- ]threatening causes": "What are the life-threatening causes of {topic}?",
    "less common causes|rare causes": "What are the less common causes of {topic}?",
    "infectious causes": "What are the infectious causes of {topic}?",
    "causes by organ system": "What are the causes of {topic} by organ system?",
    "differential diagnosis|differential|(?:differentiating|distinguishing) .{1,80}"
    " from other (?:diseases|disorders|conditions)(?: and conditions)?": (
        "What is the differential diagnosis of {topic}?"
    ),
    "epidemiology|epidemiology and demographics|demographics": (
        "What is the epidemiology of {topic}?"
    ),
    "incidence": "What is the incidence of {topic}?",
    "prevalence": "What is the prevalence of {topic}?",
    "incidence and prevalence": "What are the incidence and prevalence of {topic}?",
    "mortality|mortality rate|case fatality rate": "What is the mortality of {topic}?",
    "age": "Which age groups are affected by {topic}?",
    "gender|sex": "How does {topic} differ between the sexes?",
    "race|ethnicity": "How does the occurrence of {topic} differ between ethnic groups?",
    "risk factors|risk factor|common risk factors": "What are the risk factors for {topic}?",
    "less common risk factors": "What are the less common risk factors for {topic}?",
    "screening": "How is {topic} screened for?",
    "natural history": "What is the natural history of {topic}?",
    "natural history,? complications,? (?:and|&) prognosis|complications and prognosis": (
        "What are the natural history, complications and prognosis of {topic}?"
    ),
    "complications|possible complications": "What are the complications of {topic}?",
    "prognosis|outlook": "What is the prognosis of {topic}?",
    "diagnosis|diagnostic criteria|diagnostic study of choice|diagnostic approach": (
        "How is {topic} diagnosed?"
    ),
    "symptoms|signs and symptoms|symptoms and signs|clinical features|presentation"
    "|common symptoms|clinical presentation": "What are the symptoms of {topic}?",
    "less common symptoms": "What are the less common symptoms of {topic}?",
    "signs": "What are the signs of {topic}?",
    "history and symptoms": "What are the history and symptoms of {topic}?",
    # of a patient or of a discovery: the heading does not say
    "history": "What is the history of {topic}?",
    "physical examination|physical exam": "What does the physical examination show in {topic}?",
    "appearance(?: of the patient)?": "What do patients with {topic} look like?",
    "vital signs": "What are the vital signs in {topic}?",
    "laboratory (?:findings|tests|studies)|lab(?:oratory)?|blood tests": (
        "What are the laboratory findings in {topic}?"
    ),
    "electrocardiogram|ecg|ekg|electrocardiography": (
        "What are the electrocardiogram findings in {topic}?"
    ),
    "(?:chest )?x[- ]rays?(?: findings)?": "What are the X-ray findings in {topic}?",
    "(?:chest |abdominal |head )?ct(?: scan)?(?: findings)?|computed tomography": (
        "What are the CT findings in {topic}?"
    ),
    "(?:cardiac |brain )?mri(?: findings)?|magnetic resonance imaging": (
        "What are the MRI findings in {topic}?"
    ),
    "echocardiography(?: or ultrasound| and ultrasound)?|ultrasound|ultrasonography"
    "|echocardiogram": "What are the ultrasound findings in {topic}?",
    "(?:other )?imaging(?: findings| studies)?": "What are the imaging findings in {topic}?",
    "(?:other )?diagnostic (?:studies|tests|findings)": (
        "Which diagnostic studies are used in {topic}?"
    ),
    "biopsy": "What is the role of biopsy in {topic}?",
    "angiography|coronary angiography": "What are the angiography findings in {topic}?",
    "treatment(?: options)?|therapy|management": "How is {topic} treated?",
    "medical therapy|medical treatment|pharmacotherapy|drug therapy|pharmacological treatment": (
        "What is the medical therapy for {topic}?"
    ),
    "acute pharmacotherapies|acute (?:therapy|treatment|management)": (
        "What is the acute treatment of {topic}?"
    ),
    "antimicrobial (?:regimens?|therapy)|antibiotics": (
        "What is the antimicrobial therapy for {topic}?"
    ),
    "chemotherapy": "What is the role of chemotherapy in {topic}?",
    "radiation therapy|radiotherapy": "What is the role of radiotherapy in {topic}?",
    "surgery|surgical (?:therapy|treatment|management)": (
        "What is the role of surgery in {topic}?"
    ),
    "interventions?": "Which interventions are used in {topic}?",
    "prevention|prophylaxis": "How can {topic} be prevented?",
    "primary prevention": "What is the primary prevention of {topic}?",
    "secondary prevention": "What is the secondary prevention of {topic}?",
    "cost[- ]effectiveness(?: of therapy)?": (
        "What is known about the cost-effectiveness of therapy for {topic}?"
    ),
    "future or investigational therapies|investigational therapies|future therapies": (
        "Which investigational therapies are there for {topic}?"
    ),
    "follow[- ]?up": "What is the follow-up of {topic}?",
    "pregnancy": "What is known about {topic} in pregnancy?",
    "children|in children|pediatrics": "What is known about {topic} in children?",
    "transmission|mode of transmission": "How is {topic} transmitted?",
    "incubation period": "What is the incubation period of {topic}?",
    "vaccination|vaccines?": "Is there a vaccine against {topic}?",
    # drugs and procedures
    "indications?|uses|medical uses|indications and usage": (
        "What are the indications for {topic}?"
    ),
    "contraindications?": "What are the contraindications to {topic}?",
    "adverse (?:reactions|effects|events)|side[- ]effects": (
        "What are the adverse effects of {topic}?"
    ),
    "mechanism of action|pharmacodynamics": "What is the mechanism of action of {topic}?",
    "pharmacokinetics": "What are the pharmacokinetics of {topic}?",
    "dosage(?: and administration)?|dosing": "What is the dosage of {topic}?",
    "overdos(?:e|age)|toxicity": "What happens in an overdose of {topic}?",
    "(?:drug )?interactions": "What are the drug interactions of {topic}?",
    "warnings(?: and precautions)?|precautions": "What are the warnings for {topic}?",
    # anatomy and physiology
    "structure|anatomy": "What is the structure of {topic}?",
    "function|functions|physiology": "What is the function of {topic}?",
    "clinical significance|clinical relevance": "What is the clinical significance of {topic}?",
}
_COMPILED = tuple(
    (re.compile(heading, re.IGNORECASE), template) for heading, template in _RULES.items()
)
_APPARATUS = re.compile(
    r"references?|notes?|footnotes?|citations?|bibliography|sources?|further reading|see also"
    r"|external links?|related (?:chapters|links|articles|pages)|gallery|images?|videos?"
    r"|additional resources|resources|works cited|suggested (?:reading|links).*|acknowledge?ments?"
    r"|case stud(?:y|ies)|case examples?|case #?\d+|guidelines? resources|contents"
    r"|.*\bon the web|external resources",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^(?:\d+(?:\.\d+)*|[ivx]+)[.)]\s+|(?<![\s:])[\s:]*+(?<=:)$", re.IGNORECASE)


def section_question(heading: str, topic: str) -> str | None:
    """The question that a section answers; None where there is no rule for its heading.

    Args:
        heading: As the page has it; "" for the lead.
        topic: See `meadow.sources.wikidoc.headings.topic_of_title`.
    """
    if heading.rstrip().endswith("?") and len(heading.split()) > 2:
        return tidy_question(heading)[0]
    name = plain_heading(heading, topic)
    for pattern, template in _COMPILED:
        if pattern.fullmatch(name):
            return template.replace("{topic}", topic)
    return None


def is_apparatus(heading: str) -> bool:
    """Whether a section holds references, links or pictures and no text of the article."""
    return _APPARATUS.fullmatch(plain_heading(heading, "")) is not None


def plain_heading(heading: str, topic: str) -> str:
    """The heading without a number before it, a colon after it, and the topic that it repeats.

    "Asthma causes", "Causes of asthma" and "2. Causes:" are all "causes".
    """
    name = _NUMBER.sub("", " ".join(heading.split())).strip().lower()
    about = topic.lower().strip()
    if about:
        for before, after in (
            (f"{about} ", ""),
            ("", f" of {about}"),
            ("", f" of the {about}"),
            ("", f" for {about}"),
            ("", f" in {about}"),
        ):
            if name.startswith(before) and name.endswith(after) and len(name) > len(before + after):
                name = name[len(before) : len(name) - len(after)].strip()
    return name


def page_topic(title: str) -> str:
    """The topic of a page: its title without a chapter's name ("Asthma risk factors")."""
    return topic_of_title(title)


def page_question(heading: str, title: str) -> str | None:
    """The question of a section, given its page.

    The lead and the overview of a chapter's page are about the chapter: the overview of "Asthma
    risk factors" says what the risk factors are, not what asthma is.
    """
    topic = page_topic(title)
    chapter = " ".join(title.split())[len(topic) :].strip()
    if chapter and heading.strip().lower() in {"", "overview", "introduction"}:
        return section_question(chapter, topic)
    return section_question(heading, topic)
