"""Headings of the living textbook to questions: a rule for each common one, and none for the rest.

WikiDoc gives its chapters fixed names (Overview, Causes, Risk Factors, History and Symptoms, CT
...), as pages of their own ("Asthma risk factors") or as sections. A heading that is a question
already stands as it is. Headings without a rule are left to the optional rewriting step.
"""

from __future__ import annotations

import re

from meadow.sources.wikidoc.headings import tidy_question, topic_of_title

_RULES = r"""
What is {topic}? |overview|introduction|definition|general
What is the background of {topic}? background
What is the historical perspective on {topic}? historical perspective|discovery|eponym
How is {topic} classified? classification|types|subtypes|staging
How is {topic} graded? grading
What is the pathophysiology of {topic}? pathophysiology|mechanism|mechanisms|pathogenesis
  |molecular biology
What is the role of genetics in {topic}? genetics|genetic basis
What are the microscopic findings in {topic}? microscopic pathology|histology|histopathology
  |microscopic findings
What are the gross pathological findings in {topic}? gross pathology
Which conditions are associated with {topic}? associated conditions|associated diseases
What causes {topic}? causes|cause|etiology|aetiology|common causes
What are the life-threatening causes of {topic}? life[- ]threatening causes
What are the less common causes of {topic}? less common causes|rare causes
What are the infectious causes of {topic}? infectious causes
What are the causes of {topic} by organ system? causes by organ system
What is the differential diagnosis of {topic}? differential diagnosis|differential|
  (?:differentiating|distinguishing) .{1,80} from other (?:diseases|disorders|conditions)
  (?: and conditions)?
What is the epidemiology of {topic}? epidemiology|epidemiology and demographics|demographics
What is the incidence of {topic}? incidence
What is the prevalence of {topic}? prevalence
What are the incidence and prevalence of {topic}? incidence and prevalence
What is the mortality of {topic}? mortality|mortality rate|case fatality rate
Which age groups are affected by {topic}? age
How does {topic} differ between the sexes? gender|sex
How does the occurrence of {topic} differ between ethnic groups? race|ethnicity
What are the risk factors for {topic}? risk factors|risk factor|common risk factors
What are the less common risk factors for {topic}? less common risk factors
How is {topic} screened for? screening
What is the natural history of {topic}? natural history
What are the natural history, complications and prognosis of {topic}? natural history
  ,? complications,? (?:and|&) prognosis|complications and prognosis
What are the complications of {topic}? complications|possible complications
What is the prognosis of {topic}? prognosis|outlook
How is {topic} diagnosed? diagnosis|diagnostic criteria|diagnostic study of choice
  |diagnostic approach
What are the symptoms of {topic}? symptoms|signs and symptoms|symptoms and signs
  |clinical features|presentation|common symptoms|clinical presentation
What are the less common symptoms of {topic}? less common symptoms
What are the signs of {topic}? signs
What are the history and symptoms of {topic}? history and symptoms
# of a patient or of a discovery: the heading does not say
What is the history of {topic}? history
What does the physical examination show in {topic}? physical examination|physical exam
What do patients with {topic} look like? appearance(?: of the patient)?
What are the vital signs in {topic}? vital signs
What are the laboratory findings in {topic}? laboratory (?:findings|tests|studies)|lab
  (?:oratory)?|blood tests
What are the electrocardiogram findings in {topic}? electrocardiogram|ecg|ekg|electrocardiography
What are the X-ray findings in {topic}? (?:chest )?x[- ]rays?(?: findings)?
What are the CT findings in {topic}? (?:chest |abdominal |head )?ct(?: scan)?(?: findings)?
  |computed tomography
What are the MRI findings in {topic}? (?:cardiac |brain )?mri(?: findings)?
  |magnetic resonance imaging
What are the ultrasound findings in {topic}? echocardiography(?: or ultrasound| and ultrasound)?
  |ultrasound|ultrasonography|echocardiogram
What are the imaging findings in {topic}? (?:other )?imaging(?: findings| studies)?
Which diagnostic studies are used in {topic}? (?:other )?diagnostic (?:studies|tests|findings)
What is the role of biopsy in {topic}? biopsy
What are the angiography findings in {topic}? angiography|coronary angiography
How is {topic} treated? treatment(?: options)?|therapy|management
What is the medical therapy for {topic}? medical therapy|medical treatment|pharmacotherapy
  |drug therapy|pharmacological treatment
What is the acute treatment of {topic}? acute pharmacotherapies|acute (?:therapy|treatment
  |management)
What is the antimicrobial therapy for {topic}? antimicrobial (?:regimens?|therapy)|antibiotics
What is the role of chemotherapy in {topic}? chemotherapy
What is the role of radiotherapy in {topic}? radiation therapy|radiotherapy
What is the role of surgery in {topic}? surgery|surgical (?:therapy|treatment|management)
Which interventions are used in {topic}? interventions?
How can {topic} be prevented? prevention|prophylaxis
What is the primary prevention of {topic}? primary prevention
What is the secondary prevention of {topic}? secondary prevention
What is known about the cost-effectiveness of therapy for {topic}? cost[- ]effectiveness
  (?: of therapy)?
Which investigational therapies are there for {topic}? future or investigational therapies
  |investigational therapies|future therapies
What is the follow-up of {topic}? follow[- ]?up
What is known about {topic} in pregnancy? pregnancy
What is known about {topic} in children? children|in children|pediatrics
How is {topic} transmitted? transmission|mode of transmission
What is the incubation period of {topic}? incubation period
Is there a vaccine against {topic}? vaccination|vaccines?
# drugs and procedures
What are the indications for {topic}? indications?|uses|medical uses|indications and usage
What are the contraindications to {topic}? contraindications?
What are the adverse effects of {topic}? adverse (?:reactions|effects|events)|side[- ]effects
What is the mechanism of action of {topic}? mechanism of action|pharmacodynamics
What are the pharmacokinetics of {topic}? pharmacokinetics
What is the dosage of {topic}? dosage(?: and administration)?|dosing
What happens in an overdose of {topic}? overdos(?:e|age)|toxicity
What are the drug interactions of {topic}? (?:drug )?interactions
What are the warnings for {topic}? warnings(?: and precautions)?|precautions
# anatomy and physiology
What is the structure of {topic}? structure|anatomy
What is the function of {topic}? function|functions|physiology
What is the clinical significance of {topic}? clinical significance|clinical relevance
"""
"""A question and the headings that ask it, the first rule that fits; an indented line goes on."""
_COMPILED = tuple(
    (re.compile(headings.lstrip(), re.IGNORECASE), f"{question}?")
    for question, _, headings in (
        rule.partition("?")
        for rule in _RULES.replace("\n  ", "").strip().split("\n")
        if not rule.startswith("#")
    )
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


def page_question(heading: str, title: str) -> str | None:
    """The question of a section, given its page.

    The lead and the overview of a chapter's page are about the chapter: the overview of "Asthma
    risk factors" says what the risk factors are, not what asthma is.
    """
    topic = topic_of_title(title)
    chapter = " ".join(title.split())[len(topic) :].strip()
    if chapter and heading.strip().lower() in {"", "overview", "introduction"}:
        return section_question(chapter, topic)
    return section_question(heading, topic)
